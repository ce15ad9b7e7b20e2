//! The `WWW-Authenticate` header. Source: RFC 9110, section 11.6.1; distribution's token specification.

use reqwest::header::{HeaderMap, WWW_AUTHENTICATE};

/// How a registry wants to be told who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// User name and password with every request.
    Basic,
    /// A token, fetched from `realm` first.
    Bearer {
        /// The URL of the token server.
        realm: String,
        /// The name that the registry goes by there.
        service: Option<String>,
        /// The access that the refused request would have needed.
        scope: Option<String>,
    },
}

impl Challenge {
    /// Picks the best challenge among all headers: `Bearer` before `Basic`, others are ignored.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let mut found = None;
        for value in headers.get_all(WWW_AUTHENTICATE) {
            for (scheme, parameters) in split(value.to_str().unwrap_or_default()) {
                match Self::understand(&scheme, &parameters) {
                    bearer @ Some(Self::Bearer { .. }) => return bearer,
                    basic @ Some(Self::Basic) => found = basic,
                    None => {}
                }
            }
        }
        found
    }

    fn understand(scheme: &str, parameters: &[(String, String)]) -> Option<Self> {
        let parameter = |name: &str| {
            let mut all = parameters.iter();
            all.find(|(key, _)| key == name)
                .map(|(_, value)| value.clone())
        };
        match scheme {
            "basic" => Some(Self::Basic),
            "bearer" => Some(Self::Bearer {
                realm: parameter("realm")?,
                service: parameter("service"),
                scope: parameter("scope").filter(|scope| !scope.is_empty()),
            }),
            _ => None,
        }
    }
}

type Parameters = Vec<(String, String)>;

/// Splits a header into schemes and their parameters, names in lower case.
fn split(header: &str) -> Vec<(String, Parameters)> {
    let mut challenges: Vec<(String, Parameters)> = Vec::new();
    let mut rest = header.trim_start_matches([' ', ',', '\t']);
    while !rest.is_empty() {
        let end = rest.find([' ', ',', '=', '\t']).unwrap_or(rest.len());
        let word = rest[..end].to_ascii_lowercase();
        let after = rest[end..].trim_start_matches([' ', '\t']);
        if let Some(value) = after.strip_prefix('=') {
            let (value, after) = take_value(value.trim_start());
            if let Some((_, parameters)) = challenges.last_mut() {
                parameters.push((word, value));
            }
            rest = after;
        } else {
            challenges.push((word, Vec::new()));
            rest = after;
        }
        rest = rest.trim_start_matches([' ', ',', '\t']);
    }
    challenges
}

/// Takes a quoted string or a token off the front.
fn take_value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ']).unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            other => value.push(other),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;
    use reqwest::header::HeaderValue;

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Option<Challenge> {
        Some(Challenge::Bearer {
            realm: realm.to_owned(),
            service: service.map(str::to_owned),
            scope: scope.map(str::to_owned),
        })
    }

    #[test]
    fn challenges_are_understood() {
        let cases = [
            (vec![r#"Basic realm="x""#], Some(Challenge::Basic)),
            (vec!["basic"], Some(Challenge::Basic)),
            (
                vec![r#"Bearer realm="https://a/t",service="s",scope="repository:a/b:pull,push""#],
                bearer("https://a/t", Some("s"), Some("repository:a/b:pull,push")),
            ),
            (
                vec![r#"bearer Realm=https://a/t , scope="""#],
                bearer("https://a/t", None, None),
            ),
            (
                vec![r#"Basic realm="x, y", Bearer realm="https://a/\"t""#],
                bearer("https://a/\"t", None, None),
            ),
            (
                vec!["Basic", r#"Bearer realm="r""#],
                bearer("r", None, None),
            ),
            (vec![r#"Bearer service="s""#], None),
            (vec!["Negotiate abc=="], None),
            (
                vec![r#"Bearer realm="unclosed"#],
                bearer("unclosed", None, None),
            ),
            (vec![""], None),
            (vec!["=,=,\"\\"], None),
        ];
        for (headers, expected) in cases {
            let mut map = HeaderMap::new();
            for header in &headers {
                map.append(WWW_AUTHENTICATE, HeaderValue::from_static(header));
            }
            assert_eq!(Challenge::of(&map), expected, "{headers:?}");
        }
    }
}
