//! Bad days: a proxy that cuts, refuses, lies and corrupts, and a mica that is killed.

use std::collections::HashMap;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mica_tests::{Machine, NetworkFault, Outcome, Proxy, Registry, Serving, TokenServer};

const PASSWORD: &str = "open sesame";

/// How many pushes and pulls; `MICA_TEST_FAULTS` is another number.
const ROUNDS: u64 = 6;

/// Pieces are small, so that a layer has many.
const CHUNK: u64 = 256 << 10;

/// So many processes are killed before one may go on to its end.
const KILLS: u64 = 2;

/// Layers, each of so many pieces.
const LAYERS: u64 = 3;
const PIECES: u64 = 8;

fn rounds() -> u64 {
    let given = std::env::var("MICA_TEST_FAULTS").ok();
    given.and_then(|text| text.parse().ok()).unwrap_or(ROUNDS)
}

/// The same sequence in every run.
struct Random(AtomicU64);

impl Random {
    fn below(&self, limit: u64) -> u64 {
        let step = |state: u64| {
            let state = state ^ (state << 13);
            let state = state ^ (state >> 7);
            state ^ (state << 17)
        };
        let before = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |s| Some(step(s)));
        step(before.expect("it never refuses")) % limit
    }
}

/// Every third request has a bad day.
fn bad_day(random: &Random, method: &str, path: &str) -> Option<NetworkFault> {
    if random.below(3) > 0 {
        return None;
    }
    let is_body = matches!(method, "PATCH" | "PUT") && path.contains("/uploads/");
    let is_blob = method == "GET" && path.contains("/blobs/sha256");
    Some(match random.below(6) {
        0 | 1 if is_body => NetworkFault::CutRequest(random.below(CHUNK)),
        0 | 1 if is_blob => NetworkFault::CutAnswer(random.below(PIECES * CHUNK)),
        2 if is_blob => NetworkFault::LieAboutLength,
        3 => NetworkFault::Status(429),
        4 => NetworkFault::Status(503),
        _ => NetworkFault::Status([500, 502][usize::try_from(random.below(2)).expect("0 or 1")]),
    })
}

/// A machine with an image of random layers.
fn victim() -> Machine {
    let machine = Machine::with_busybox();
    let layer = |n: u64| format!("RUN head -c {} /dev/urandom > /layer{n}\n", PIECES * CHUNK);
    let layers: String = (0..LAYERS).map(layer).collect();
    machine.build("victim:v1", &format!("FROM busybox\n{layers}"), &[]);
    machine
}

/// Runs a command until it succeeds; it is killed at a random moment before.
fn until_done(machine: &Machine, arguments: &[&str], random: &Random) {
    const MOST: u64 = 12;
    let life = Duration::from_millis(400);
    for attempt in 0..MOST {
        let mut command = machine.command(arguments);
        command.env("MICA_UPLOAD_CHUNK", CHUNK.to_string());
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        let nanoseconds = u64::try_from(life.as_nanos()).expect("commands take no centuries");
        let delay = Duration::from_nanos(random.below(nanoseconds.max(1)));
        let start = Instant::now();
        while attempt < KILLS && start.elapsed() < delay {
            std::thread::park_timeout(delay.saturating_sub(start.elapsed()));
        }
        if attempt < KILLS {
            child.kill().expect("it is ours");
        }
        let output = child.wait_with_output().expect("it is ours");
        if output.status.success() {
            return;
        }
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(attempt + 1 < MOST, "{arguments:?} never succeeded: {said}");
    }
}

/// Each push ends with the right digest, and no piece is sent twice but for those that were cut.
pub(crate) fn pushes() -> Outcome {
    let random = Arc::new(Random(AtomicU64::new(0x9e37_79b9_7f4a_7c15)));
    let mut machine = victim();
    let mut faults = 0;
    for round in 0..rounds() {
        // Every other time nothing is compressed yet, so that pieces go while more are made.
        if round % 2 == 0 {
            machine = victim();
        }
        let id = machine.ok(["images", "--no-trunc", "-q", "victim:v1"]);
        // A registry of its own, as none of its layers may be there already.
        let registry = Machine::new();
        let serving = Serving::start(&registry, &["--allow-push"]);
        let (deciding, cuts) = (random.clone(), Arc::new(AtomicU64::new(0)));
        let counted = cuts.clone();
        let proxy = Proxy::start(&serving.address, move |method, path| {
            let fault = bad_day(&deciding, method, path);
            let is_cut = matches!(fault, Some(NetworkFault::CutRequest(_)));
            counted.fetch_add(u64::from(is_cut), Ordering::Relaxed);
            fault
        });
        let name = format!("{}/victim:v1", proxy.address);
        machine.ok(["tag", "victim:v1", &name]);
        until_done(&machine, &["push", "-q", &name], &random);
        let there = registry.ok(["images", "--no-trunc", "-q", "victim:v1"]);
        assert_eq!(there, id, "round {round}");
        let whole = LAYERS * PIECES * CHUNK;
        // A killed process and a cut connection each cost the pieces in flight, of four uploads.
        let interrupted = cuts.load(Ordering::Relaxed) + KILLS * 4;
        let allowed = whole + whole / 8 + (interrupted + 2) * CHUNK;
        let sent = proxy.sent();
        assert!(
            sent <= allowed,
            "round {round}: {sent} of {whole} bytes, {interrupted} cuts"
        );
        faults += proxy.faults();
        let noted = std::fs::read_dir(machine.path("run/uploads"));
        let noted: Vec<_> = noted
            .into_iter()
            .flatten()
            .flatten()
            .map(|e| e.path())
            .collect();
        assert!(
            noted.is_empty(),
            "uploads are noted that came to their end: {noted:?}"
        );
        machine.ok(["rmi", &name]);
    }
    assert!(faults > 0, "there were bad days");
    Ok(())
}

/// Each pull ends with the right content, and nothing comes twice but what was in flight.
pub(crate) fn pulls() -> Outcome {
    let registry = victim();
    let serving = Serving::start(&registry, &[]);
    let random = Arc::new(Random(AtomicU64::new(0x2545_f491_4f6c_dd1d)));
    let deciding = random.clone();
    let proxy = Proxy::start(&serving.address, move |method, path| {
        bad_day(&deciding, method, path)
    });
    let name = format!("{}/victim:v1", proxy.address);
    let expected = registry.ok(["images", "--no-trunc", "-q", "victim:v1"]);
    for round in 0..rounds() {
        let machine = Machine::new();
        proxy.reset();
        until_done(&machine, &["pull", "-q", &name], &random);
        assert_eq!(
            machine.ok(["images", "--no-trunc", "-q", &name]),
            expected,
            "round {round}"
        );
        for (path, bytes) in proxy.blobs() {
            // Cuts and refusals cost nothing; a killed process loses what it had not read yet,
            // which may be all that is left of a blob this small.
            let allowed = (1 + KILLS) * PIECES * CHUNK;
            assert!(
                bytes <= allowed + CHUNK,
                "round {round}: {bytes} bytes of {path}"
            );
        }
        let left: Vec<_> = std::fs::read_dir(machine.root().join("tmp"))
            .into_iter()
            .flatten()
            .flatten()
            .map(|e| e.path())
            .collect();
        assert!(left.is_empty(), "left behind: {left:?}");
    }
    Ok(())
}

/// Each thing that may go wrong, once a blob: the pull comes to its end, with the right content.
pub(crate) fn every_fault_once() -> Outcome {
    let registry = victim();
    let serving = Serving::start(&registry, &[]);
    let expected = registry.ok(["images", "--no-trunc", "-q", "victim:v1"]);
    let cases: [(&str, &[NetworkFault]); 11] = [
        ("cut", &[NetworkFault::CutAnswer(100_000)]),
        ("cut before the first byte", &[NetworkFault::CutAnswer(0)]),
        ("length", &[NetworkFault::LieAboutLength]),
        (
            "range",
            &[
                NetworkFault::CutAnswer(100_000),
                NetworkFault::LieAboutRange,
            ],
        ),
        ("delay", &[NetworkFault::Delay(300)]),
        ("throttle", &[NetworkFault::Throttle(4 << 20)]),
        ("408", &[NetworkFault::Status(408)]),
        (
            "429",
            &[NetworkFault::Status(429), NetworkFault::Status(429)],
        ),
        ("500", &[NetworkFault::Status(500)]),
        (
            "502, cut",
            &[NetworkFault::Status(502), NetworkFault::CutAnswer(1)],
        ),
        ("503", &[NetworkFault::Status(503)]),
    ];
    for (name, faults) in cases {
        let seen = Mutex::new(HashMap::<String, usize>::new());
        let proxy = Proxy::start(&serving.address, move |method, path| {
            if method != "GET" || !path.contains("/blobs/") {
                return None;
            }
            let mut seen = seen.lock().expect("no panic under this lock");
            let count = seen.entry(path.to_owned()).or_default();
            *count += 1;
            faults.get(*count - 1).copied()
        });
        let machine = Machine::new();
        let image = format!("{}/victim:v1", proxy.address);
        let pulled = machine.mica(["pull", "-q", &image]);
        assert_eq!(pulled.code, 0, "{name}: {pulled}");
        let found = machine.ok(["images", "--no-trunc", "-q", &image]);
        assert_eq!(found, expected, "{name}");
        assert!(proxy.faults() > LAYERS, "{name}");
    }
    Ok(())
}

/// Requests that a single refusal meets: the command that makes them, method, a part of the path.
const REQUESTS: [(&str, &str, &str); 5] = [
    ("pull", "GET", "/manifests/"),
    ("pull", "GET", "/blobs/"),
    ("push", "POST", "/blobs/uploads/"),
    ("push", "PUT", "/blobs/uploads/"),
    ("push", "PUT", "/manifests/"),
];

/// An upload that the registry knows no more begins again.
const RESTARTED: (&str, &str, u16) = ("PUT", "/blobs/uploads/", 404);

/// One refusal of one request: a token is replaced, anything else is told, and the next try works.
pub(crate) fn every_refusal_once() -> Outcome {
    let tokens = TokenServer::start("ada", PASSWORD)?;
    let registry = Registry::with_tokens(&tokens)?;
    let machine = Machine::with_busybox();
    let pushed = format!("{}/team/app:v1", registry.address);
    log_in(&machine, &registry.address);
    machine.ok(["tag", "busybox", &pushed]);
    machine.ok(["push", "-q", &pushed]);
    for (number, (command, method, part)) in REQUESTS.into_iter().enumerate() {
        for (status, hint) in [(401, None), (403, Some("mica login")), (404, Some("hint:"))] {
            let refused = AtomicBool::new(false);
            let proxy = Proxy::start(&registry.address, move |asked, path| {
                let first = asked == method
                    && path.contains(part)
                    && !refused.swap(true, Ordering::Relaxed);
                first.then_some(NetworkFault::Status(status))
            });
            let (user, repository) = match command {
                "pull" => (Machine::new(), "team/app".to_owned()),
                _ => (Machine::with_busybox(), format!("team/{number}-{status}")),
            };
            let image = format!("{}/{repository}:v1", proxy.address);
            log_in(&user, &proxy.address);
            if command == "push" {
                user.build(&image, "FROM busybox\nRUN echo new > /f\n", &[]);
            }
            let asked = tokens.requests().len();
            let tried = user.mica([command, "-q", &image]);
            assert_eq!(proxy.faults(), 1, "{tried}");
            match hint {
                None => {
                    tried.ok();
                    let fresh = tokens.requests().len() - asked;
                    assert!(fresh > 1, "a token was asked for {fresh} times: {tried}");
                }
                Some(_) if (method, part, status) == RESTARTED => {
                    tried.ok();
                }
                Some(hint) => {
                    let url = format!("{method} http://{}/v2/{repository}{part}", proxy.address);
                    let said = format!("status {status}");
                    tried.fails(1, &[&url, &status.to_string(), "bad day", &said, hint]);
                    user.mica([command, "-q", &image]).ok();
                }
            }
            user.ok(["system", "check", "--full"]);
        }
    }
    Ok(())
}

fn log_in(machine: &Machine, address: &str) {
    let arguments = ["login", "-u", "ada", "--password-stdin", address];
    machine.mica_with_input(arguments, PASSWORD.as_bytes()).ok();
}

/// What a registry says of a digest is held against the content; repeated content is wrong content.
pub(crate) fn lies_are_refused() -> Outcome {
    let registry = victim();
    let serving = Serving::start(&registry, &[]);
    let proxy = Proxy::start(&serving.address, |_, path| {
        let is_manifest = path.contains("/manifests/");
        is_manifest.then_some(NetworkFault::LieAboutDigest)
    });
    let machine = Machine::new();
    let zeros = format!("sha256:{}", "0".repeat(12));
    machine
        .mica(["pull", &format!("{}/victim:v1", proxy.address)])
        .fails(1, &[&proxy.address, "victim", &zeros]);
    let proxy = Proxy::start(&serving.address, |method, path| {
        let is_blob = method == "GET" && path.contains("/blobs/");
        is_blob.then_some(NetworkFault::Repeat(100))
    });
    machine
        .mica(["pull", &format!("{}/victim:v1", proxy.address)])
        .fails(1, &["has digest sha256:", "expected sha256:"]);
    assert!(machine.ok(["images", "-q"]).is_empty());
    Ok(())
}

/// Wrong content is refused and reported; a mirror's is replaced by the registry's.
pub(crate) fn corrupt_content() -> Outcome {
    let registry = victim();
    let serving = Serving::start(&registry, &[]);
    let proxy = Proxy::start(&serving.address, |method, path| {
        let is_layer = method == "GET" && path.contains("/blobs/");
        is_layer.then_some(NetworkFault::Corrupt(70_000))
    });
    let machine = Machine::new();
    let name = format!("{}/victim:v1", proxy.address);
    machine
        .mica(["pull", &name])
        .fails(1, &["has digest sha256:", "expected sha256:"]);
    assert!(machine.ok(["images", "-q"]).is_empty());
    let direct = format!("{}/victim:v1", serving.address);
    let mut pull = machine.command(["pull", "-q", &direct]);
    pull.env(
        "MICA_MIRROR",
        format!("{}={}", serving.address, proxy.address),
    );
    mica_tests::run(&mut pull).ok();
    Ok(())
}

/// Each refusal is told with everything needed to do something about it.
pub(crate) fn refusals_are_explained() -> Outcome {
    let registry = victim();
    let serving = Serving::start(&registry, &["--allow-push"]);
    for (status, word) in [
        (401, "mica login"),
        (403, "mica login"),
        (404, "hint:"),
        (500, "500"),
        (429, "429"),
    ] {
        let proxy = Proxy::start(&serving.address, move |_, path| {
            (path != "/v2/").then_some(NetworkFault::Status(status))
        });
        let name = format!("{}/team/app:v9", proxy.address);
        let machine = Machine::new();
        let said = machine.mica(["pull", &name]);
        let status = status.to_string();
        said.fails(
            1,
            &[
                "GET",
                "team/app",
                "v9",
                &proxy.address,
                &status,
                "bad day",
                word,
            ],
        );
    }
    Ok(())
}

/// Several processes that want one image download each layer once.
pub(crate) fn one_download_for_all() -> Outcome {
    let registry = victim();
    let serving = Serving::start(&registry, &[]);
    let proxy = Proxy::start(&serving.address, |_, _| None);
    let machine = Machine::new();
    // Named once, so that the store is made before its users come.
    machine.ok(["images", "-q"]);
    let name = format!("{}/victim:v1", proxy.address);
    let pulls: Vec<_> = (0..4)
        .map(|_| {
            machine
                .command(["pull", "-q", &name])
                .stdout(Stdio::null())
                .spawn()
                .expect("it starts")
        })
        .collect();
    for mut pull in pulls {
        assert!(pull.wait().expect("it is ours").success());
    }
    for (path, bytes) in proxy.blobs() {
        assert!(bytes <= PIECES * CHUNK + CHUNK, "{bytes} bytes of {path}");
    }
    Ok(())
}
