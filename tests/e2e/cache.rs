//! `--cache-to` and `--cache-from`: what travels, and what does not.

use std::fs;
use std::path::Path;

use mica_tests::{Finished, Machine, Outcome, Registry, S3Server, run};

const DOCKERFILE: &str = "FROM busybox AS build\nCOPY src /src\nRUN mkdir /out && cat /src > /out/app && head -c 300000 /dev/urandom > /out/big\n\
    FROM busybox\nRUN echo final > /final\nCOPY --from=build /out/app /app\nCOPY own /own\nRUN cat /app /own > /all\n";
const FILES: &[(&str, &str)] = &[
    ("Dockerfile", DOCKERFILE),
    ("src", "src\n"),
    ("own", "own\n"),
];

/// The steps that make layers, as progress counts them.
const STEPS: usize = 6;

fn build(machine: &Machine, options: &[&str]) -> Finished {
    let mut arguments = vec!["build", "--progress", "plain", "-t", "app"];
    arguments.extend(options);
    let context = machine.path("c");
    arguments.push(context.to_str().expect("UTF-8"));
    let finished = machine.mica(arguments);
    finished.ok();
    finished
}

fn cached(finished: &Finished) -> usize {
    let lines = finished.stderr.lines();
    lines.filter(|line| line.ends_with(" CACHED")).count()
}

fn lines_with(finished: &Finished, word: &str) -> usize {
    let lines = finished.stderr.lines();
    lines.filter(|line| line.contains(word)).count()
}

fn id(machine: &Machine) -> String {
    machine.ok(["inspect", "-f", "{{.Id}}", "app"])
}

fn machine() -> Machine {
    let machine = Machine::with_busybox();
    machine.context("c", FILES);
    machine
}

/// A second machine finds every step, fetches the layers of the image alone, and has the same image.
pub(crate) fn registry() -> Outcome {
    let registry = Registry::open()?;
    let (one, two) = (machine(), machine());
    let name = format!("{}/cache/app:main", registry.address);
    let to = format!("type=registry,ref={name},mode=max");
    let from = format!("type=registry,ref={name}");
    let first = build(&one, &["--cache-to", &to]);
    assert_eq!(lines_with(&first, "writing layer"), STEPS, "{first}");
    let again = build(&one, &["--cache-to", &to]);
    assert_eq!(lines_with(&again, "writing layer"), 0, "{again}");
    assert_eq!(lines_with(&again, " exists"), STEPS, "{again}");
    registry.clear_log();
    let second = build(&two, &["--cache-from", &from]);
    assert_eq!(cached(&second), STEPS, "{second}");
    assert_eq!(id(&two), id(&one));
    // Manifest, configuration, and the four layers of the image: none of the stage `build`.
    let requests = registry.requests();
    let gets: Vec<_> = requests.iter().filter(|r| r.starts_with("GET")).collect();
    let blobs = gets.iter().filter(|r| r.contains("/blobs/")).count();
    let manifests = gets.iter().filter(|r| r.contains("/manifests/")).count();
    assert_eq!((manifests, blobs), (1, 5), "{requests:#?}");
    assert_eq!(two.ok(["run", "--rm", "app", "cat", "/all"]), "src\nown");
    // The layers are as the first machine made them: they can be saved and pushed.
    two.ok(["save", "-o", "/dev/null", "app"]);
    // Only what depends on a changed file runs; the other stage is still not fetched.
    let three = machine();
    fs::write(three.path("c/own"), "new\n").expect("the context is ours");
    let third = build(&three, &["--cache-from", &name]);
    assert_eq!(cached(&third), STEPS - 2, "{third}");
    assert_eq!(three.ok(["run", "--rm", "app", "cat", "/all"]), "src\nnew");
    // What a step of the other stage needs is fetched.
    let four = machine();
    fs::write(
        four.path("c/Dockerfile"),
        DOCKERFILE.replace("/out/app /app", "/out/big /app"),
    )
    .expect("the context is ours");
    let fourth = build(&four, &["--cache-from", &from]);
    assert_eq!(cached(&fourth), 3, "{fourth}");
    Ok(())
}

/// `mode=min` keeps the image's own steps; what is below a copy runs again.
pub(crate) fn modes() -> Outcome {
    let registry = Registry::open()?;
    let one = machine();
    let name = |mode: &str| format!("{}/cache:{mode}", registry.address);
    let to = ["min", "max"].map(|mode| format!("type=registry,ref={},mode={mode}", name(mode)));
    let first = build(&one, &["--cache-to", &to[0], "--cache-to", &to[1]]);
    assert_eq!(
        lines_with(&first, "exporting cache to registry"),
        2,
        "{first}"
    );
    for (mode, expected) in [("min", 2), ("max", STEPS)] {
        let two = machine();
        let second = build(&two, &["--cache-from", &name(mode)]);
        // With `min`, COPY and RUN of the stage `build` run, and what RUN makes is random.
        let found = cached(&second);
        assert!(
            found >= expected && (mode == "max") == (found == STEPS),
            "{mode}: {second}"
        );
    }
    Ok(())
}

/// A directory: an OCI layout that another store builds from, with each form of manifest.
pub(crate) fn local() -> Outcome {
    let one = machine();
    let cache = one.path("cache");
    let cache = text(&cache);
    for form in [
        "image-manifest=true",
        "image-manifest=false",
        "oci-mediatypes=false",
    ] {
        let to = format!("type=local,dest={cache},mode=max,tag={form},{form}");
        build(&one, &["--cache-to", &to]);
        let two = machine();
        let from = format!("type=local,src={cache},tag={form}");
        let second = build(&two, &["--cache-from", &from]);
        assert_eq!(cached(&second), STEPS, "{form}: {second}");
        assert_eq!(id(&two), id(&one));
    }
    assert!(Path::new(cache).join("oci-layout").exists());
    Ok(())
}

/// A bucket: objects are sent once, refreshed when they are old, and read back with the
/// environment's credentials.
pub(crate) fn bucket() -> Outcome {
    let server = S3Server::start()?;
    let one = machine();
    let place = format!(
        "type=s3,endpoint_url={},bucket={},region=us-east-1,prefix=team/,name=main;latest",
        server.url, server.bucket
    );
    let keys = "access_key_id=AKIAONE,secret_access_key=not-for-the-log";
    let to = format!("{place},{keys},mode=max,compression=zstd");
    let first = build(&one, &["--cache-to", &to]);
    assert_eq!(lines_with(&first, "writing layer"), STEPS, "{first}");
    assert_eq!(lines_with(&first, "not-for-the-log"), 0, "{first}");
    let puts = |word: &str| {
        let is_put = |request: &&String| request.starts_with("PUT") && request.contains(word);
        server.requests().iter().filter(is_put).count()
    };
    // The layers, the configuration and the document; the document again under each name.
    assert_eq!(puts("/caches/team/blobs/sha256:"), STEPS + 2);
    assert_eq!(puts("/caches/team/manifests/"), 2);
    let again = build(&one, &["--cache-to", &to]);
    assert_eq!(lines_with(&again, " exists"), STEPS, "{again}");
    assert_eq!(puts("/blobs/"), STEPS + 3, "only the document is sent anew");
    let aged = format!("{to},touch_refresh=0s");
    build(&one, &["--cache-to", &aged]);
    assert!(
        puts("/blobs/") >= 2 * STEPS + 4,
        "each is copied onto itself"
    );
    let two = machine();
    let from = place.replace("main;latest", "latest");
    let mut command = two.command(["build", "--progress", "plain", "-t", "app", "--cache-from"]);
    command.arg(&from).arg(two.path("c"));
    command.env("AWS_ACCESS_KEY_ID", "AKIAONE");
    command.env("AWS_SECRET_ACCESS_KEY", "not-for-the-log");
    let second = run(&mut command);
    second.ok();
    assert_eq!(cached(&second), STEPS, "{second}");
    assert_eq!(id(&two), id(&one));
    let missing = place.replace(server.bucket, "nowhere");
    let failed = two.mica(["build", "--cache-to", &missing, text(&two.path("c"))]);
    assert_ne!(failed.code, 0);
    for part in ["s3://nowhere/team/", "nosuchbucket"] {
        assert!(failed.stderr.contains(part), "{failed}");
    }
    Ok(())
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// The image itself is the cache.
pub(crate) fn inline() -> Outcome {
    let registry = Registry::open()?;
    let one = machine();
    let name = format!("{}/team/app:v1", registry.address);
    build(&one, &["-t", &name, "--cache-to", "type=inline"]);
    one.ok(["push", "-q", &name]);
    let two = machine();
    let dockerfile = DOCKERFILE.replace(
        "RUN mkdir /out && cat /src > /out/app && head -c 300000 /dev/urandom > /out/big",
        "RUN mkdir /out && cat /src > /out/app",
    );
    for machine in [&one, &two] {
        fs::write(machine.path("c/Dockerfile"), &dockerfile).expect("the context is ours");
    }
    build(&one, &["-t", &name, "--cache-to", "type=inline"]);
    one.ok(["push", "-q", &name]);
    let second = build(&two, &["--cache-from", &name]);
    // The stage `build` is not in the image and runs; its file is the same, so all above is found.
    assert_eq!(cached(&second), 4, "{second}");
    Ok(())
}

/// A cache that is not there, or lost a layer, costs time and no more.
pub(crate) fn lost_caches() -> Outcome {
    let registry = Registry::open()?;
    let one = machine();
    let missing = format!("{}/none:x", registry.address);
    let built = build(
        &one,
        &[
            "--cache-from",
            &missing,
            "--cache-from",
            "type=local,src=/nonexistent",
        ],
    );
    assert_eq!(lines_with(&built, "not found"), 2, "{built}");
    let cache = one.path("cache");
    let to = format!("type=local,dest={},mode=max", cache.display());
    build(&one, &["--cache-to", &to]);
    // All layers are gone; manifest and configuration still name them.
    for entry in fs::read_dir(cache.join("blobs/sha256")).expect("it was made") {
        let path = entry.expect("it can be read").path();
        if fs::read(&path).is_ok_and(|content| content.starts_with(&[0x1f, 0x8b])) {
            fs::remove_file(&path).expect("it is ours");
        }
    }
    let two = machine();
    let from = format!("type=local,src={}", cache.display());
    let second = build(&two, &["--cache-from", &from]);
    assert_eq!(
        lines_with(&second, "building without imported caches"),
        1,
        "{second}"
    );
    assert_eq!(two.ok(["run", "--rm", "app", "cat", "/all"]), "src\nown");
    // An export that fails is the build's failure, unless it is said not to be.
    let nowhere = "type=registry,ref=127.0.0.1:1/x:y";
    let context = two.path("c");
    let context = context.to_str().expect("UTF-8");
    two.mica(["build", "--cache-to", nowhere, context])
        .fails(1, &["cannot export the cache to 127.0.0.1:1/x:y"]);
    let ignored = format!("{nowhere},ignore-error=true");
    build(&two, &["--cache-to", &ignored]);
    Ok(())
}

/// The directory of a cache mount travels, and of a change only the chunks around it.
pub(crate) fn mounts() -> Outcome {
    let registry = Registry::open()?;
    let one = Machine::with_busybox();
    let name = format!("{}/mounts:m", registry.address);
    let fill = "FROM busybox\nARG N\nRUN --mount=type=cache,id=deps,target=/c \
        test -e /c/big || head -c 20000000 /dev/urandom > /c/big; echo $N >> /c/log; chmod 700 /c\n";
    one.context("c", &[("Dockerfile", fill)]);
    let to = format!("type=registry,ref={name},mount=deps,mount=none");
    let sent = |finished: &Finished| -> usize {
        let line = finished
            .stderr
            .lines()
            .find(|line| line.contains("chunks of cache mounts"));
        let words = line.unwrap_or_default().split(' ');
        words
            .filter_map(|word| word.parse().ok())
            .next()
            .unwrap_or(0)
    };
    let first = sent(&build(&one, &["--cache-to", &to, "--build-arg", "N=1"]));
    assert!((5..80).contains(&first), "{first} chunks of some megabyte");
    let second = sent(&build(&one, &["--cache-to", &to, "--build-arg", "N=2"]));
    assert!((1..4).contains(&second), "{second}");
    let two = Machine::with_busybox();
    let look = "FROM busybox\nRUN --mount=type=cache,id=deps,target=/c cat /c/log > /log; \
        stat -c %a /c >> /log; sha256sum < /c/big >> /log\n";
    for machine in [&one, &two] {
        machine.context("c", &[("Dockerfile", look)]);
        let from = format!("type=registry,ref={name},mount=deps");
        build(machine, &["--cache-from", &from]);
    }
    let seen = |machine: &Machine| machine.ok(["run", "--rm", "app", "cat", "/log"]);
    assert!(seen(&one).starts_with("1\n2\n700\n"), "{}", seen(&one));
    assert_eq!(seen(&two), seen(&one));
    Ok(())
}

/// A build that fails leaves what it did, and keeps what was there.
pub(crate) fn failed_builds() -> Outcome {
    let one = machine();
    let cache = one.path("cache");
    let to = format!("type=local,dest={},mode=max", cache.display());
    build(&one, &["--cache-to", &to]);
    let failing = "FROM busybox\nRUN echo new > /new\nRUN false\n";
    fs::write(one.path("c/Dockerfile"), failing).expect("the context is ours");
    let context = one.path("c");
    one.mica(["build", "--cache-to", &to, context.to_str().expect("UTF-8")])
        .fails(1, &["RUN false"]);
    let from = format!("type=local,src={}", cache.display());
    let two = machine();
    assert_eq!(cached(&build(&two, &["--cache-from", &from])), STEPS);
    fs::write(two.path("c/Dockerfile"), failing.replace("false", "true")).expect("ours");
    assert_eq!(cached(&build(&two, &["--cache-from", &from])), 1);
    Ok(())
}

/// The steps of all platforms go into one cache, and each finds its own there.
pub(crate) fn several_platforms() -> Outcome {
    let one = Machine::with_busybox();
    let two = Machine::with_busybox();
    let dockerfile = "FROM --platform=$BUILDPLATFORM busybox AS make\nARG TARGETARCH\n\
        RUN echo $TARGETARCH > /arch\nFROM scratch\nCOPY --from=make /arch /\n";
    let cache = one.path("cache");
    for machine in [&one, &two] {
        machine.context("p", &[("Dockerfile", dockerfile)]);
    }
    let build = |machine: &Machine, option: String| {
        let context = machine.path("p");
        let built = machine.mica([
            "build",
            "--progress=plain",
            "--platform=linux/amd64,linux/arm64",
            "-t",
            "app",
            &option,
            text(&context),
        ]);
        built.ok();
        built
    };
    let first = build(
        &one,
        format!("--cache-to=type=local,mode=max,dest={}", text(&cache)),
    );
    assert_eq!(
        lines_with(&first, "exporting cache to client"),
        1,
        "{first}"
    );
    let second = build(
        &two,
        format!("--cache-from=type=local,src={}", text(&cache)),
    );
    assert_eq!(cached(&second), 4, "{second}");
    assert_eq!(id(&two), id(&one));
    Ok(())
}
