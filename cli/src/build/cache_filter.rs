//! `--filter` of the build cache: BuildKit's expressions over an entry's fields.

use jiff::Timestamp;
use mica_builder::CacheEntry;

use crate::failure::CliError;

/// Conditions that an entry meets all together.
#[derive(Debug, Default)]
pub(crate) struct CacheFilter {
    conditions: Vec<Condition>,
    /// Only what was not used since then.
    before: Option<Timestamp>,
}

#[derive(Debug)]
struct Condition {
    field: String,
    operator: Operator,
    value: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Is,
    IsNot,
    Contains,
}

const FIELDS: [&str; 8] = [
    "id",
    "parents",
    "description",
    "inuse",
    "mutable",
    "shared",
    "private",
    "type",
];

impl CacheFilter {
    /// Reads filters such as `type=regular`, `until=24h`, `description~=RUN`, `shared`.
    pub(crate) fn parse(texts: &[String], now: Timestamp) -> Result<Self, CliError> {
        let mut filter = Self::default();
        for text in texts.iter().flat_map(|text| text.split(',')) {
            let invalid = || CliError::Filter {
                filter: text.to_owned(),
            };
            let (field, operator, value) = split(text);
            match (field, value) {
                ("until" | "unused-for", value) => {
                    let age = duration(value).ok_or_else(invalid)?;
                    let before = now.checked_sub(age).map_err(|_| invalid())?;
                    filter.before = Some(filter.before.map_or(before, |given| given.min(before)));
                }
                (field, value) if FIELDS.contains(&field) => filter.conditions.push(Condition {
                    field: field.to_owned(),
                    operator,
                    value: value.to_owned(),
                }),
                _ => return Err(invalid()),
            }
        }
        Ok(filter)
    }

    /// Tells whether an entry meets all conditions.
    pub(crate) fn accepts(&self, entry: &CacheEntry) -> bool {
        self.before.is_none_or(|before| entry.last_used <= before)
            && self
                .conditions
                .iter()
                .all(|condition| condition.met_by(entry))
    }
}

impl Condition {
    fn met_by(&self, entry: &CacheEntry) -> bool {
        let switch = |set: bool| match self.value.as_str() {
            "" | "true" | "1" => set,
            _ => !set,
        };
        let is_met = match self.field.as_str() {
            "inuse" => switch(entry.in_use),
            "mutable" => switch(entry.is_mutable()),
            "shared" => switch(entry.shared),
            "private" => switch(!entry.shared),
            "parents" => entry.parents.iter().any(|parent| self.matches(parent)),
            "type" => self.matches(entry.kind.name()),
            "description" => self.matches(&entry.description),
            _ => entry.id.starts_with(&self.value) || self.matches(&entry.id),
        };
        is_met != (self.operator == Operator::IsNot)
    }

    fn matches(&self, text: &str) -> bool {
        match self.operator {
            Operator::Contains => text.contains(&self.value),
            Operator::Is | Operator::IsNot => text == self.value,
        }
    }
}

fn split(text: &str) -> (&str, Operator, &str) {
    let text = text.trim();
    for (sign, operator) in [
        ("!=", Operator::IsNot),
        ("~=", Operator::Contains),
        ("==", Operator::Is),
        ("=", Operator::Is),
    ] {
        if let Some((field, value)) = text.split_once(sign) {
            return (field.trim(), operator, value.trim().trim_matches('"'));
        }
    }
    (text, Operator::Is, "")
}

/// Reads a duration as Go writes it: `24h`, `1h30m`, `90s`; days as `7d`.
pub(crate) fn duration(text: &str) -> Option<jiff::SignedDuration> {
    let mut rest = text;
    let mut seconds = 0.0;
    if rest == "0" {
        return Some(jiff::SignedDuration::ZERO);
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..end].parse().ok()?;
        rest = &rest[end..];
        let end = rest
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(rest.len());
        seconds += number
            * match &rest[..end] {
                "ms" => 0.001,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                "d" => 86400.0,
                _ => return None,
            };
        rest = &rest[end..];
    }
    (!text.is_empty()).then_some(())?;
    jiff::SignedDuration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_reads_them() {
        let seconds = |text: &str| duration(text).map(|duration| duration.as_secs());
        assert_eq!(seconds("24h"), Some(86400));
        assert_eq!(seconds("1h30m"), Some(5400));
        assert_eq!(seconds("1.5h"), Some(5400));
        assert_eq!(seconds("7d"), Some(7 * 86400));
        assert_eq!(seconds("0"), Some(0));
        for bad in ["", "5", "h", "5x", "1h5"] {
            assert_eq!(seconds(bad), None, "{bad}");
        }
    }

    #[test]
    fn expressions_are_split_at_their_operator() {
        let cases = [
            ("type==regular", ("type", Operator::Is, "regular")),
            ("id!=x", ("id", Operator::IsNot, "x")),
            (
                "description~=\"a=b\"",
                ("description", Operator::Contains, "a=b"),
            ),
            ("shared", ("shared", Operator::Is, "")),
        ];
        for (text, expected) in cases {
            assert_eq!(split(text), expected);
        }
        let parse = |text: &str| CacheFilter::parse(&[text.to_owned()], Timestamp::UNIX_EPOCH);
        assert!(parse("colour=red").is_err());
        assert!(parse("until=soon").is_err());
    }
}
