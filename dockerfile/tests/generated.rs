//! Dockerfiles made by a grammar: they parse, print and check without a panic, and print to the
//! same tree.

use mica_dockerfile::check::{
    BaseImage, CheckRequest, Facts, ImageFacts, PlatformName, Reach, check,
};
use mica_dockerfile::{parse, parse_tree, print};
use std::collections::BTreeMap;

/// How many files are made.
const FILES: u64 = 10_000;

/// A seeded generator (splitmix), so that a failure can be repeated.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % bound as u64).unwrap_or(0)
    }

    fn one<'c>(&mut self, choices: &[&'c str]) -> &'c str {
        choices[self.below(choices.len())]
    }

    fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }
}

/// Grows a Dockerfile.
struct Grammar {
    random: Random,
    text: String,
    escape: char,
}

impl Grammar {
    fn file(seed: u64) -> String {
        let mut grammar = Self {
            random: Random(seed),
            text: String::new(),
            escape: '\\',
        };
        grammar.directives();
        for _ in 0..grammar.random.below(3) {
            grammar.line("ARG", Self::arguments);
        }
        for _ in 0..=grammar.random.below(3) {
            grammar.stage();
        }
        grammar.text
    }

    fn directives(&mut self) {
        if self.random.chance(10) {
            self.text.push('\u{feff}');
        }
        if self.random.chance(20) {
            self.text.push_str("# syntax=docker/dockerfile:1\n");
        }
        if self.random.chance(20) {
            let options = [
                "skip=all",
                "skip=StageNameCasing;error=true",
                "experimental=all",
                "error=x",
            ];
            let option = self.random.one(&options);
            self.text.push_str(&format!("#check={option}\n"));
        }
        if self.random.chance(20) {
            self.text.push_str("# escape=`\n");
            self.escape = '`';
        }
    }

    /// Writes an instruction's line, sometimes in odd ways that mean the same.
    fn line(&mut self, keyword: &str, rest: fn(&mut Self)) {
        if self.random.chance(15) {
            let comments = [
                "# a word",
                "#",
                "# check=skip=all // why",
                "  # indented",
                "",
            ];
            let comment = self.random.one(&comments);
            self.text.push_str(&format!("{comment}\n"));
        }
        let keyword = match self.random.below(8) {
            0 => keyword.to_lowercase(),
            1 => keyword[..1].to_owned() + &keyword[1..].to_lowercase(),
            _ => keyword.to_owned(),
        };
        self.text.push_str(&keyword);
        rest(self);
        let end = self.random.one(&["\n", "\n", "\n", "\r\n", " \n", "\n\n"]);
        self.text.push_str(end);
    }

    /// Separates two words: blanks, or a continued line, perhaps with comments in it.
    fn blank(&mut self) {
        let escape = self.escape;
        match self.random.below(12) {
            0 => self.text.push_str(&format!(" {escape}\n  ")),
            1 => self.text.push_str(&format!("\t{escape} \n# no\n\n ")),
            2 => self.text.push_str("  "),
            _ => self.text.push(' '),
        }
    }

    fn add(&mut self, text: &str) {
        self.blank();
        self.text.push_str(text);
    }

    fn pick(&mut self, choices: &[&str]) {
        let chosen = self.random.one(choices);
        self.add(chosen);
    }

    fn word(&mut self) {
        self.pick(&[
            "a",
            "b/c",
            "/d/",
            ".",
            "./e",
            "$V",
            "${V}",
            "${V:-x}",
            "${V#a*}",
            "${V//b/c}",
            "\"f g\"",
            "'h i'",
            "j\\ k",
            "é",
            "*.l",
            "$",
            "${",
            "<<",
            "--",
            "\\",
            "`",
            "#",
            "[",
            "m=n",
        ]);
    }

    fn words(&mut self) {
        for _ in 0..=self.random.below(4) {
            self.word();
        }
    }

    fn json(&mut self) {
        self.pick(&[
            "[]",
            "[\"a\"]",
            "[\"a\", \"b c\"]",
            "[ \"\\u00e9\\n\" ]",
            "[\"$V\"]",
            "[\"a\", 1]",
            "[\"a\"",
            "['a']",
        ]);
    }

    fn command(&mut self) {
        match self.random.below(4) {
            0 => self.json(),
            1 => self.pick(&[
                "apt-get update && apt-get install -y x",
                "cd /a && export B=c",
                "curl x | tar -x || true",
                "chown -R a:b /d",
                "pip install -r a",
            ]),
            _ => self.words(),
        }
    }

    fn arguments(&mut self) {
        for _ in 0..=self.random.below(2) {
            self.pick(&["V", "V=1", "W=$V", "TOKEN=x", "X=\"a b\"", "=", "A=B=C"]);
        }
    }

    fn pairs(&mut self) {
        if self.random.chance(20) {
            self.add("name");
            self.words();
            return;
        }
        for _ in 0..=self.random.below(3) {
            self.pick(&[
                "a=b",
                "P=$P:/x",
                "password=c",
                "\"d\"=e",
                "f=",
                "g='h i'",
                "j=k\\ l",
            ]);
        }
    }

    /// Announces heredocs and writes them after the line.
    fn heredocs(&mut self, destination: &str) {
        let mut bodies = String::new();
        for number in 0..=self.random.below(2) {
            let mark = self.random.one(&["<<", "<<-", "3<<"]);
            let quote = self.random.one(&["", "'", "\""]);
            self.add(&format!("{mark}{quote}E{number}{quote}"));
            let body = self.random.one(&[
                "",
                "x $V\n",
                "#!/bin/sh\ny\n",
                "\t\tz\n\n",
                "E\n",
                "RUN a \\\n",
            ]);
            bodies.push_str(&format!("{body}E{number}\n"));
        }
        self.text.push_str(destination);
        self.text.push('\n');
        self.text.push_str(bodies.trim_end_matches('\n'));
    }

    fn copy(&mut self) {
        for _ in 0..self.random.below(3) {
            self.pick(&[
                "--from=b",
                "--from=0",
                "--chown=a:b",
                "--chmod=755",
                "--link",
                "--link=false",
                "--parents",
                "--exclude=*.x",
                "--checksum=sha256:0",
                "--unpack",
                "--keep-git-dir=true",
                "--frm=x",
            ]);
        }
        match self.random.below(5) {
            0 => self.heredocs(" /x/"),
            1 => self.json(),
            2 => self.add("https://e.example/x.git#main /y"),
            _ => {
                self.words();
                self.word();
            }
        }
    }

    fn run(&mut self) {
        for _ in 0..self.random.below(3) {
            self.pick(&[
                "--mount=type=cache,target=/c,sharing=locked",
                "--mount=type=secret,id=$V,required",
                "--mount=from=b,target=/d,rw",
                "--mount=type=ssh",
                "--mount=type=tmpfs,target=/t,size=1m",
                "--network=none",
                "--security=insecure",
                "--device=v.example/d=x",
                "--mount=type=nope",
                "--mont=x",
            ]);
        }
        if self.random.chance(25) {
            self.heredocs("");
        } else {
            self.command();
        }
    }

    fn stage(&mut self) {
        self.line("FROM", |it| {
            if it.random.chance(20) {
                it.pick(&[
                    "--platform=$TARGETPLATFORM",
                    "--platform=linux/arm64",
                    "--platform=$P",
                ]);
            }
            it.pick(&["a", "a:1", "scratch", "b", "$V", "busybox:latest", "A"]);
            if it.random.chance(60) {
                it.pick(&["AS", "as", "As"]);
                it.pick(&["b", "c", "Dd", "scratch", "1x"]);
            }
        });
        for _ in 0..self.random.below(7) {
            self.instruction();
        }
    }

    fn instruction(&mut self) {
        match self.random.below(20) {
            0 => self.line("ADD", Self::copy),
            1 => self.line("ARG", Self::arguments),
            2 => self.line("CMD", Self::command),
            3 | 4 => self.line("COPY", Self::copy),
            5 => self.line("ENTRYPOINT", Self::command),
            6 => self.line("ENV", Self::pairs),
            7 => self.line("EXPOSE", |it| {
                it.pick(&["80", "1-3/udp", "$V/TCP", "1.2.3.4:5:6", "x", "9-1"])
            }),
            8 => self.line("HEALTHCHECK", |it| {
                it.pick(&[
                    "NONE",
                    "--interval=1.5h --retries=2 CMD",
                    "CMD",
                    "--timeout=1us CMD",
                    "X",
                ]);
                it.command();
            }),
            9 => self.line("LABEL", Self::pairs),
            10 => self.line("MAINTAINER", Self::words),
            11 => self.line("ONBUILD", |it| {
                it.pick(&["COPY", "RUN", "ADD", "USER", "FROM", "onbuild"]);
                it.copy();
            }),
            12..=14 => self.line("RUN", Self::run),
            15 => self.line("SHELL", Self::json),
            16 => self.line("STOPSIGNAL", |it| it.pick(&["SIGTERM", "9", "$V", "NOPE"])),
            17 => self.line("USER", Self::word),
            18 => self.line("VOLUME", Self::command),
            _ => self.line("WORKDIR", Self::word),
        }
    }
}

fn checked(text: &str, seed: u64) -> usize {
    let platform = |text: &str| match text.split_once('/') {
        Some((os, architecture)) => Ok(PlatformName {
            os: os.to_owned(),
            architecture: architecture.to_owned(),
        }),
        None => Err("no platform".to_owned()),
    };
    let image = |_: &str, _: Option<&str>| match seed % 3 {
        0 => BaseImage::Unknown,
        1 => BaseImage::Missing("not found".to_owned()),
        _ => BaseImage::Known(ImageFacts {
            on_build: vec!["COPY $V /".to_owned()],
            ..ImageFacts::default()
        }),
    };
    let report = check(
        text,
        &CheckRequest {
            build_args: &BTreeMap::from([("V".to_owned(), "a".to_owned())]),
            predefined: &[("TARGETPLATFORM".to_owned(), "linux/amd64".to_owned())],
            target: seed.is_multiple_of(5).then_some("b"),
            reach: Reach::All,
            ignore: None,
            facts: Facts {
                reference: &|name| match name.chars().all(|c| !c.is_uppercase()) {
                    true => Ok(()),
                    false => Err("invalid reference format".to_owned()),
                },
                platform: &platform,
                image: &image,
                replaced: &|_| false,
            },
        },
    );
    report.findings.len()
}

#[test]
fn ten_thousand_files() {
    let (mut parsed, mut findings) = (0, 0);
    for seed in 0..FILES {
        let text = Grammar::file(seed);
        let (tree, errors) = parse_tree(&text);
        let printed = print(&tree);
        if errors.is_empty() {
            let (again, wrong) = parse_tree(&printed);
            assert!(
                wrong.is_empty(),
                "seed {seed}: {text:?}: {printed:?}: {wrong:?}"
            );
            assert_eq!(again.to_string(), tree.to_string(), "seed {seed}: {text:?}");
        }
        parsed += usize::from(parse(&text).is_ok());
        findings += checked(&text, seed);
    }
    // The grammar makes mistakes on purpose, but not only those.
    assert!(parsed > 1500, "{parsed} of {FILES} files parse");
    assert!(findings > 10_000, "{findings} findings");
}
