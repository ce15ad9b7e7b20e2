//! Places where package managers and compilers leave what no image needs.

/// Directories, and what they are of. `*` stands for one name.
const CACHES: &[(&str, &str)] = &[
    ("var/cache/apt", "apt"),
    ("var/lib/apt/lists", "apt"),
    ("var/cache/debconf", "debconf"),
    ("var/cache/apk", "apk"),
    ("etc/apk/cache", "apk"),
    ("var/cache/dnf", "dnf"),
    ("var/cache/libdnf5", "dnf"),
    ("var/cache/yum", "yum"),
    ("var/cache/zypp", "zypper"),
    ("var/cache/pacman/pkg", "pacman"),
    ("root/.cache", "user's cache"),
    ("home/*/.cache", "user's cache"),
    ("root/.npm/_cacache", "npm"),
    ("home/*/.npm/_cacache", "npm"),
    ("usr/local/share/.cache", "yarn"),
    ("root/.yarn/berry/cache", "yarn"),
    ("root/.local/share/pnpm/store", "pnpm"),
    ("root/go/pkg/mod/cache", "go"),
    ("go/pkg/mod/cache", "go"),
    ("root/.cargo/registry", "cargo"),
    ("usr/local/cargo/registry", "cargo"),
    ("root/.m2/repository", "maven"),
    ("root/.gradle/caches", "gradle"),
    ("root/.composer/cache", "composer"),
    ("root/.gem", "gem"),
    ("root/.nuget/packages", "nuget"),
    ("opt/conda/pkgs", "conda"),
    ("tmp", "temporary files"),
    ("var/tmp", "temporary files"),
];

/// Tells what a file is a cache of.
pub(super) fn cache_of(path: &[u8]) -> Option<&'static str> {
    let found = CACHES.iter().find(|(cache, _)| is_within(path, cache));
    found.map(|(_, of)| *of)
}

fn is_within(path: &[u8], directory: &str) -> bool {
    let mut names = path.split(|byte| *byte == b'/');
    let fits = |wanted: &str| {
        let name = names.next();
        name.is_some_and(|name| wanted == "*" || name == wanted.as_bytes())
    };
    directory.split('/').all(fits) && names.next().is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn caches_are_known_by_their_place() {
        for (path, of) in [
            ("var/lib/apt/lists/a/b", Some("apt")),
            ("var/lib/apt/lists", None),
            ("var/lib/apt/listsx/a", None),
            ("home/me/.cache/pip/x", Some("user's cache")),
            ("tmp/x", Some("temporary files")),
            ("usr/tmp/x", None),
        ] {
            assert_eq!(cache_of(path.as_bytes()), of, "{path}");
        }
    }
}
