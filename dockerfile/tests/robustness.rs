//! Hostile input: no panic, no unstable printing, no time that grows faster than the input.

use mica_dockerfile::ignore::{Matcher, read};
use mica_dockerfile::{Escape, ExpandOptions, Expander, SourceMap, parse, parse_tree, print};
use std::time::{Duration, Instant};

const SAMPLES: [&str; 9] = [
    "# syntax=docker/dockerfile:1\n# escape=`\nFROM a AS b\nRUN x `\n  y\nCOPY --from=b c `\n",
    "FROM --platform=$P a:${V:-1} as b\n# c\n\nRUN --mount=type=cache,target=/a,id=\"b c\" x \\\n # d\n\n y\\\\\n",
    "FROM x\nCOPY <<a <<-'b c' 3<<\"d\" /e/\n1\na\n\t2\n\tb c\n3\nd\nRUN <<EOF\n#!/bin/sh\nEOF\n",
    "FROM x\nENV a=b c=\"d e\" f='g\\' h\\ i=j\nENV k l m\nLABEL n=\nARG o p=q\nEXPOSE 1-2/udp\n",
    "FROM x\nHEALTHCHECK --interval=1.5h --retries=3 CMD [\"a\", \"\\u00e9\\ud834\\udd1e\\n\"]\nSHELL [\"a\"]\n",
    "FROM x\nONBUILD RUN <<a cat\nb\na\nVOLUME [\"/a\", 1]\nUSER a:b\nSTOPSIGNAL 9\nWORKDIR /a/$B\n",
    "ARG a=${b:?c}\nFROM ${a##*/}${b%%.?}${c//d/e}\nCMD [ \"a\", [{\"b\": null}] ]\nADD -- --a b\n",
    "\u{feff}FROM x\r\nRUN a \\\r\n  b\r\nMAINTAINER é <ü@x>\r\nENTRYPOINT --a b\r\n\\\n",
    "*.md\n!README*.md\n**/node_modules\na/**/b?\n[a-c^]x\n\\d[[:alpha:]]\n# c\n!\n/x/../y/\n",
];

/// Pieces that a mutation puts in: what has a meaning somewhere.
const PIECES: [&str; 28] = [
    "\\", "`", "\n", "\r\n", "\t", "\u{b}", " ", "#", "\"", "'", "$", "${", "}", "<<", "<<-", "--",
    "=", "[", "]", "*", "**/", "?", "!", ":", "é", "\u{a0}", "\u{feff}", "ONBUILD ",
];

/// A seeded generator (xorshift), so that a failure can be repeated.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound.max(1) as u64).unwrap_or(0)
    }

    fn place(&mut self, text: &str) -> usize {
        let mut at = self.below(text.len() + 1);
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        at
    }

    /// Changes a text in a few places: puts a piece in, cuts, or doubles a part.
    fn mutate(&mut self, text: &mut String) {
        for _ in 0..=self.below(6) {
            let (a, b) = (self.place(text), self.place(text));
            let (start, end) = (a.min(b), a.max(b).min(a.min(b) + 40));
            let end = (start..=end)
                .rev()
                .find(|at| text.is_char_boundary(*at))
                .unwrap_or(start);
            match self.below(3) {
                0 => text.insert_str(start, PIECES[self.below(PIECES.len())]),
                1 => text.replace_range(start..end, ""),
                _ => {
                    let part = text[start..end].to_owned();
                    text.insert_str(a, &part);
                }
            }
        }
    }
}

/// Does everything that can be done with a text, and checks what always holds.
fn exercise(text: &str) {
    let (tree, errors) = parse_tree(text);
    let printed = print(&tree);
    if errors.is_empty() {
        let (again, wrong) = parse_tree(&printed);
        assert!(
            wrong.is_empty(),
            "{text:?} printed as {printed:?}: {wrong:?}"
        );
        assert_eq!(
            again.to_string(),
            tree.to_string(),
            "{text:?} printed as {printed:?}"
        );
    }
    if let Err(errors) = parse(text) {
        assert!(!errors.is_empty(), "{text:?}");
        let source = SourceMap::new(text);
        for error in errors {
            assert!(!error.to_string().is_empty());
            let lines = source.excerpt(error.span, 1);
            assert!(
                lines.iter().any(|line| line.carets().is_some()),
                "{text:?}: {error:?}"
            );
        }
    }
    expand(text);
    if let Ok(matcher) = Matcher::from_lines(&read(text)) {
        for path in ["README.md", "a/x/b1", "", "é/../x"] {
            let _ = matcher.matches_or_parent_matches(path);
        }
    }
}

fn expand(text: &str) {
    let variables = |name: &str| (name.len() % 2 == 1).then(|| "v.x/y z".to_owned());
    for escape in [Escape::Backslash, Escape::Backtick] {
        let expander = Expander::new(escape, &variables);
        let keep = ExpandOptions {
            keep_quotes: true,
            keep_escapes: true,
            ..Default::default()
        };
        for line in text.lines().chain([text]) {
            let _ = expander.expand(line);
            let _ = expander.with_options(keep).expand(line);
        }
    }
}

#[test]
fn mutated_files_do_no_harm() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for round in 0..6000 {
        let mut text = SAMPLES[round % SAMPLES.len()].to_owned();
        random.mutate(&mut text);
        exercise(&text);
    }
}

#[test]
fn deep_nesting_does_no_harm() {
    for piece in [
        "${a:-", "[", "{\"a\":", "ONBUILD ", "<<", "\"$", "--a ", "\\\n", "`", "# x\n",
    ] {
        for start in ["FROM x\nRUN ", "CMD [\"a\", ", "", "FROM "] {
            exercise(&(start.to_owned() + &piece.repeat(20_000)));
        }
    }
}

fn time(text: &str) -> Duration {
    let start = Instant::now();
    let _ = parse(text);
    start.elapsed()
}

/// A sixteen-fold input of 2 MB takes about sixteen times as long; squared, it would be 256 times.
#[test]
fn time_grows_with_the_input() {
    let shapes: [fn(usize) -> String; 8] = [
        |size| "FROM x\nRUN a b\nCOPY c d\n".repeat(size / 23),
        |size| format!("FROM x\nRUN {}", "a \\\n".repeat(size / 4)),
        |size| format!("FROM x\nRUN <<E\n{}E\n", "line\n".repeat(size / 5)),
        |size| format!("FROM x\nRUN [{}\"a\"]", "\"a\", ".repeat(size / 5)),
        |size| format!("FROM x\nRUN {}x", "--mount=target=/a ".repeat(size / 18)),
        |size| format!("FROM x\nENV {}", "a=\"b c\" ".repeat(size / 8)),
        |size| format!("FROM x\nRUN cat {}", "<<a <".repeat(size / 5)),
        |size| "RUN a\nFOOBARBAZ\n# b\n".repeat(size / 20),
    ];
    for (number, shape) in shapes.iter().enumerate() {
        let small = shape(128 << 10);
        let small = (0..3).map(|_| time(&small)).min().unwrap_or_default();
        let large = shape(2 << 20);
        let allowed = small * 80 + Duration::from_millis(200);
        // A busy machine may slow one run down, but not each of three.
        let quick = (0..3).map(|_| time(&large)).any(|time| time < allowed);
        assert!(
            quick,
            "shape {number}: {small:?}, and a sixteen-fold input more than {allowed:?}"
        );
    }
}
