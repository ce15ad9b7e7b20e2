//! How many requests a registry still allows: Docker Hub's headers.
//!
//! Source: Docker Hub's documentation, "Usage and rate limits"; draft-polli-ratelimit-headers-02.

use reqwest::header::HeaderMap;

/// How many requests are left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// The registry.
    pub registry: String,
    /// How many requests are left in this window.
    pub remaining: u64,
    /// How many there are in all.
    pub limit: u64,
    /// How many seconds the window lasts; 0 when the registry does not say.
    pub window: u64,
}

/// What is left is worth a word when it is less than this part of the whole.
const NEAR: u64 = 5;

impl RateLimit {
    /// Reads `ratelimit-limit: 100;w=21600` and `ratelimit-remaining`.
    pub(crate) fn of(registry: &str, headers: &HeaderMap) -> Option<Self> {
        let read = |name: &str| {
            let text = headers.get(name)?.to_str().ok()?;
            let (count, window) = text.split_once(";w=").unwrap_or((text, "0"));
            let count = count.trim().parse::<u64>().ok()?;
            Some((count, window.trim().parse::<u64>().unwrap_or(0)))
        };
        let (limit, window) = read("ratelimit-limit")?;
        let (remaining, _) = read("ratelimit-remaining")?;
        Some(Self {
            registry: registry.to_owned(),
            remaining,
            limit,
            window,
        })
    }

    /// Tells whether little is left.
    pub(crate) fn is_near(&self) -> bool {
        self.remaining < self.limit.div_ceil(NEAR)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use reqwest::header::HeaderValue;

    #[test]
    fn limits_are_read_and_near_ones_told() {
        let cases = [
            ("100;w=21600", "76;w=21600", Some((76, false))),
            ("100;w=21600", "19;w=21600", Some((19, true))),
            ("100", "0", Some((0, true))),
            ("x", "0", None),
        ];
        for (limit, remaining, expected) in cases {
            let mut headers = HeaderMap::new();
            headers.insert("ratelimit-limit", HeaderValue::from_static(limit));
            headers.insert("ratelimit-remaining", HeaderValue::from_static(remaining));
            let found = RateLimit::of("docker.io", &headers);
            let found = found.map(|found| (found.remaining, found.is_near()));
            assert_eq!(found, expected, "{limit} {remaining}");
        }
    }
}
