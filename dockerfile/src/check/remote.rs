//! Telling sources on the network from files of the context.

/// Where a source of `ADD` or `COPY` lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SourceKind {
    /// In the context, a stage or an image.
    Local,
    /// Behind a URL.
    Url,
    /// In a git repository.
    Git,
}

impl SourceKind {
    /// Tells where an expanded source lies.
    pub(super) fn of(source: &str) -> Self {
        let http = source.starts_with("http://") || source.starts_with("https://");
        let repository = source.split(['#', '?']).next().unwrap_or_default();
        if http && repository.ends_with(".git") || is_git(source) {
            Self::Git
        } else if http {
            Self::Url
        } else {
            Self::Local
        }
    }
}

fn is_git(source: &str) -> bool {
    let scheme = ["git://", "ssh://"].iter().any(|it| source.starts_with(it));
    scheme || is_scp_like(source)
}

/// Tells whether a source looks like `user@host:path`.
fn is_scp_like(source: &str) -> bool {
    let Some((user, rest)) = source.split_once('@') else {
        return false;
    };
    let Some((host, _)) = rest.split_once(':') else {
        return false;
    };
    let all = |text: &str, more: &str| {
        !text.is_empty()
            && text
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || more.contains(c))
    };
    all(user, "-_") && all(host, "-.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_sources_apart() {
        let cases = [
            ("a/b", SourceKind::Local),
            ("github.com/a/b", SourceKind::Local),
            ("https://a.example/b.tar", SourceKind::Url),
            ("https://a.example/b.git#main", SourceKind::Git),
            ("git@a.example:b", SourceKind::Git),
            ("git://a.example/b", SourceKind::Git),
            ("a@b/c", SourceKind::Local),
        ];
        for (source, kind) in cases {
            assert_eq!(SourceKind::of(source), kind, "{source}");
        }
    }
}
