use super::read::size;
use super::*;

fn resolve(value: &str) -> Result<Mount, String> {
    let expand = |word: &str| Ok(word.replace("$V", "value"));
    MountFlag::parse(value)
        .and_then(|flag| flag.resolve(expand))
        .map_err(|error| error.to_string())
}

#[test]
fn mounts() {
    let bind = Mount {
        read_only: true,
        ..Mount::default()
    };
    let target = Some("/t".to_owned());
    let cases = [
        (
            "target=/t",
            Mount {
                target: target.clone(),
                ..bind.clone()
            },
        ),
        (
            "dst=/t,rw,from=a",
            Mount {
                target: target.clone(),
                from: Some("a".into()),
                read_only: false,
                ..bind.clone()
            },
        ),
        (
            "TYPE=Cache,id=$V,sharing=locked,mode=0755,uid=1,gid=2,target=/t",
            Mount {
                kind: MountKind::Cache,
                id: Some("value".into()),
                sharing: Some(CacheSharing::Locked),
                mode: Some(0o755),
                uid: Some(1),
                gid: Some(2),
                target: target.clone(),
                ..Mount::default()
            },
        ),
        (
            "type=tmpfs,\"target=/t\",size=1.5k",
            Mount {
                kind: MountKind::Tmpfs,
                target: target.clone(),
                size: Some(1536),
                ..Mount::default()
            },
        ),
        (
            "type=secret,id=a,env=TOKEN,required",
            Mount {
                kind: MountKind::Secret,
                id: Some("a".into()),
                env: Some("TOKEN".into()),
                required: true,
                ..bind.clone()
            },
        ),
        (
            "type=ssh,required=false,ro=0",
            Mount {
                kind: MountKind::Ssh,
                ..Mount::default()
            },
        ),
    ];
    for (value, mount) in cases {
        assert_eq!(resolve(value), Ok(mount), "{value}");
    }
}

#[test]
fn wrong_mounts() {
    let cases = [
        (
            "typ=tmpfs",
            "unexpected key 'typ' in 'typ=tmpfs' (did you mean type?)",
        ),
        (
            "type=tmp",
            "unsupported mount type \"tmp\" (did you mean tmpfs?)",
        ),
        ("type=bogus", "unsupported mount type \"bogus\""),
        (
            "from=$x",
            "'from' doesn't support variable expansion, define alias stage instead",
        ),
        ("target", "invalid field 'target' must be a key=value pair"),
        (
            "required",
            "unexpected key 'required' for mount type 'bind'",
        ),
        ("size=1", "unexpected key 'size' for mount type 'bind'"),
        ("type=tmpfs,size=x", "invalid value for size: x"),
        ("type=cache,mode=9", "invalid value 9 for mode"),
        ("uid=1", "uid not allowed for \"bind\" type mounts"),
        (
            "type=secret",
            "invalid secret mount. one of source, target required",
        ),
        (
            "type=secret,id=a,source=b",
            "both source and id can't be set",
        ),
        ("sharing=locked", "invalid cache sharing set for bind mount"),
        ("ro=maybe", "invalid value for ro: maybe"),
    ];
    for (value, message) in cases {
        assert_eq!(resolve(value), Err(message.to_owned()), "{value}");
    }
}

#[test]
fn devices() {
    let parse = |value| Device::parse(value).map_err(|error| error.to_string());
    let device = |name: &str, required| {
        Ok(Device {
            name: name.into(),
            required,
        })
    };
    assert_eq!(
        parse("vendor.com/gpu=all"),
        device("vendor.com/gpu=all", false)
    );
    assert_eq!(parse("name=a/b=c,required"), device("a/b=c", true));
    assert_eq!(parse("a,required=false"), device("a", false));
    assert!(parse("a,b").is_err());
    assert!(
        parse("a,requierd=1")
            .unwrap_err()
            .contains("did you mean required?")
    );
}

#[test]
fn sizes() {
    for (text, bytes) in [
        ("0", 0),
        ("10", 10),
        ("1k", 1024),
        ("2 MiB", 2 << 20),
        ("1gb", 1 << 30),
    ] {
        assert_eq!(size(text), Some(bytes), "{text}");
    }
    for text in ["", "x", "1x", "-1", "1 k k", "1ii"] {
        assert_eq!(size(text), None, "{text}");
    }
}
