//! How often a failing action is repeated, and how long between.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::{HeaderMap, RETRY_AFTER};

/// How often and how long a failing request is repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// How often something is tried in all, without progress between.
    pub attempts: u32,
    /// The first wait; each further one is twice as long, give or take half of it.
    pub first_wait: Duration,
    /// The longest wait, also where the registry asks for more: then the request fails.
    pub longest_wait: Duration,
    /// How long a connection may stay silent while something is expected.
    pub silence: Duration,
}

impl Default for RetryPolicy {
    /// Five attempts, 0.25 s to 30 s between, a minute of silence.
    fn default() -> Self {
        Self {
            attempts: 5,
            first_wait: Duration::from_millis(250),
            longest_wait: Duration::from_secs(30),
            silence: Duration::from_secs(60),
        }
    }
}

/// This much content between two failures makes the first one forgotten. A peer that hands out a
/// few bytes a connection must not keep us for ever.
const PROGRESS: u64 = 1 << 20;

/// What is left of a policy for one action.
#[derive(Debug)]
pub(crate) struct Budget {
    policy: RetryPolicy,
    failures: u32,
    progress: u64,
}

impl Budget {
    pub(crate) fn new(policy: RetryPolicy) -> Self {
        Self {
            policy,
            failures: 0,
            progress: 0,
        }
    }

    /// Notes that `bytes` of content were moved.
    pub(crate) fn moved(&mut self, bytes: u64) {
        self.progress += bytes;
        if self.progress >= PROGRESS {
            self.progress = 0;
            self.failures = 0;
        }
    }

    /// Notes a failure and waits; `false` when it is time to give up.
    pub(crate) async fn wait(&mut self, asked: Option<Duration>) -> bool {
        self.failures += 1;
        if self.failures >= self.policy.attempts {
            return false;
        }
        let wait = match asked {
            Some(asked) if asked > self.policy.longest_wait => return false,
            Some(asked) => asked + jittered(self.policy.first_wait) / 4,
            None => jittered(self.back_off()),
        };
        tokio::time::sleep(wait).await;
        true
    }

    fn back_off(&self) -> Duration {
        let factor = 1u32 << (self.failures - 1).min(16);
        let wait = self.policy.first_wait.saturating_mul(factor);
        wait.min(self.policy.longest_wait)
    }
}

/// Between half and one and a half of `wait`: clients that failed together must not return together.
fn jittered(wait: Duration) -> Duration {
    let random = RandomState::new().build_hasher().finish();
    wait.mul_f64(0.5 + (random % 1024) as f64 / 1024.0)
}

/// Tells whether a status speaks of the moment, not of the request.
pub(crate) fn is_passing(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 429 | 500 | 502 | 503 | 504)
}

/// Reads `Retry-After`: seconds or a date. Source: RFC 9110, section 10.2.3.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
    let wait = date.duration_since(jiff::Timestamp::now());
    Some(wait.try_into().unwrap_or(Duration::ZERO))
}

#[cfg(test)]
mod tests {
    use super::*;
    use reqwest::header::HeaderValue;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let check = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, HeaderValue::from_str(text).unwrap());
            retry_after(&headers)
        };
        assert_eq!(check("7"), Some(Duration::from_secs(7)));
        assert_eq!(check("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::ZERO));
        assert!(check("Sat, 06 Nov 2094 08:49:37 GMT") > Some(Duration::from_secs(3600)));
        assert_eq!(check("soon"), None);
        assert_eq!(retry_after(&HeaderMap::new()), None);
    }

    #[tokio::test]
    async fn a_budget_ends_unless_there_is_progress() {
        let policy = RetryPolicy {
            attempts: 3,
            first_wait: Duration::ZERO,
            longest_wait: Duration::from_secs(1),
            ..RetryPolicy::default()
        };
        let mut budget = Budget::new(policy);
        assert!(budget.wait(None).await);
        assert!(budget.wait(None).await);
        budget.moved(PROGRESS);
        assert!(budget.wait(None).await);
        budget.moved(PROGRESS - 1);
        assert!(budget.wait(None).await);
        assert!(!budget.wait(None).await);
        let asked = Some(Duration::from_secs(2));
        assert!(!Budget::new(policy).wait(asked).await);
    }
}
