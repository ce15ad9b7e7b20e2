//! Thresholds for an image's waste, and dive's file that has them.

use std::str::FromStr;

use crate::efficiency::Efficiency;

/// What is too much.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Gate {
    /// The lowest score, from 0 to 1.
    pub lowest_efficiency: Option<f64>,
    /// The most wasted bytes.
    pub most_wasted: Option<u64>,
    /// The most wasted bytes as a part of the layers above the first.
    pub most_user_wasted: Option<f64>,
}

/// What a rule says of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The rule, by dive's name.
    pub rule: &'static str,
    /// Whether the image keeps it.
    pub passed: bool,
    /// The figures.
    pub message: String,
}

/// A file of thresholds that cannot be understood.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("line {line}: {reason}")]
pub struct GateError {
    line: usize,
    reason: String,
}

/// A number of bytes such as `20MB`, `1.5 GiB` or `1000`; also a percentage where one is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bytes(pub u64);

/// A part such as `0.95` or `95%`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Part(pub f64);

impl Gate {
    /// The thresholds that dive has where nothing else is said.
    pub fn of_dive() -> Self {
        Self {
            lowest_efficiency: Some(0.9),
            most_wasted: None,
            most_user_wasted: Some(0.1),
        }
    }

    /// Reads a `.dive-ci` file: `rules:` and dive's three names under it, `disabled` for none. A rule
    /// that it does not have keeps dive's default.
    ///
    /// # Errors
    /// [`GateError`] with the line.
    pub fn parse_dive_ci(text: &str) -> Result<Self, GateError> {
        let mut gate = Self::of_dive();
        for (number, line) in text.lines().enumerate() {
            let line = line.split(" #").next().unwrap_or_default().trim();
            if line.is_empty() || line.starts_with('#') || line == "rules:" || line == "---" {
                continue;
            }
            let failed = |reason: String| GateError {
                line: number + 1,
                reason,
            };
            let Some((name, value)) = line.split_once(':') else {
                return Err(failed(format!("`{line}` is no `name: value`")));
            };
            let value = value.trim().trim_matches(['"', '\'']);
            gate.set(name.trim().trim_matches(['"', '\'']), value)
                .map_err(failed)?;
        }
        Ok(gate)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        let is_off = value == "disabled" || value.parse::<f64>().is_ok_and(|value| value < 0.0);
        let part = || value.parse::<Part>().map(|part| part.0);
        let bytes = || value.parse::<Bytes>().map(|bytes| bytes.0);
        match name {
            "lowestEfficiency" | "lowest-efficiency" => {
                self.lowest_efficiency = if is_off { None } else { Some(part()?) };
            }
            "highestWastedBytes" | "highest-wasted-bytes" => {
                self.most_wasted = if is_off { None } else { Some(bytes()?) };
            }
            "highestUserWastedPercent" | "highest-user-wasted-percent" => {
                self.most_user_wasted = if is_off { None } else { Some(part()?) };
            }
            _ => return Err(format!("there is no rule `{name}`")),
        }
        Ok(())
    }

    /// Judges an image by the thresholds that are set.
    pub fn judge(&self, image: &Efficiency) -> Vec<Verdict> {
        let mut verdicts = Vec::new();
        if let Some(lowest) = self.lowest_efficiency {
            verdicts.push(Verdict {
                rule: "lowestEfficiency",
                passed: image.score >= lowest,
                message: format!(
                    "efficiency is {:.6}, at least {lowest} is asked for",
                    image.score
                ),
            });
        }
        if let Some(most) = self.most_wasted {
            verdicts.push(Verdict {
                rule: "highestWastedBytes",
                passed: image.wasted <= most,
                message: format!(
                    "{} bytes are wasted, at most {most} are allowed",
                    image.wasted
                ),
            });
        }
        if let Some(most) = self.most_user_wasted {
            let part = image.user_wasted();
            verdicts.push(Verdict {
                rule: "highestUserWastedPercent",
                passed: part <= most,
                message: format!(
                    "{part:.6} of the layers above the first is wasted, at most {most} is allowed"
                ),
            });
        }
        verdicts
    }
}

impl FromStr for Bytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let end = text.find(|letter: char| !letter.is_ascii_digit() && letter != '.');
        let (number, unit) = text.split_at(end.unwrap_or(text.len()));
        let factor: u64 = match unit.trim().to_ascii_lowercase().as_str() {
            "" | "b" => 1,
            "k" | "kb" => 1_000,
            "m" | "mb" => 1_000_000,
            "g" | "gb" => 1_000_000_000,
            "t" | "tb" => 1_000_000_000_000,
            "ki" | "kib" => 1 << 10,
            "mi" | "mib" => 1 << 20,
            "gi" | "gib" => 1 << 30,
            "ti" | "tib" => 1 << 40,
            _ => return Err(format!("`{text}` is no size such as 20MB")),
        };
        let wrong = |_| format!("`{text}` is no size such as 20MB");
        if let Ok(whole) = number.parse::<u64>() {
            return Ok(Self(whole.saturating_mul(factor)));
        }
        let number: f64 = number.parse().map_err(wrong)?;
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a number with a point is meant roughly, and a cast to an integer saturates"
        )]
        let bytes = (number * factor as f64) as u64;
        Ok(Self(bytes))
    }
}

impl FromStr for Part {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (number, divisor) = match text.trim().strip_suffix('%') {
            Some(number) => (number, 100.0),
            None => (text.trim(), 1.0),
        };
        let part = number.parse::<f64>().map(|number| number / divisor);
        match part {
            Ok(part) if (0.0..=1.0).contains(&part) => Ok(Self(part)),
            _ => Err(format!("`{text}` is no part such as 0.95 or 95%")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dives_file_is_understood() {
        let text = "# all of it\nrules:\n  lowestEfficiency: 0.95 # a part\n  \
                    highestWastedBytes: \"20MB\"\n  highestUserWastedPercent: disabled\n";
        let expected = Gate {
            lowest_efficiency: Some(0.95),
            most_wasted: Some(20_000_000),
            most_user_wasted: None,
        };
        assert_eq!(Gate::parse_dive_ci(text), Ok(expected));
        assert_eq!(Gate::parse_dive_ci("rules:\n"), Ok(Gate::of_dive()));
        for (text, line) in [
            ("rules:\n  a: 1\n", 2),
            ("x\n", 1),
            ("lowestEfficiency: 2\n", 1),
        ] {
            assert_eq!(Gate::parse_dive_ci(text).unwrap_err().line, line, "{text}");
        }
    }

    #[test]
    fn thresholds_are_themselves_allowed() {
        let image = Efficiency {
            wasted: 100,
            user_size: 1000,
            score: 0.9,
            ..Efficiency::default()
        };
        let gate = Gate {
            most_wasted: Some(100),
            ..Gate::of_dive()
        };
        assert!(gate.judge(&image).iter().all(|verdict| verdict.passed));
        let worse = Efficiency {
            wasted: 101,
            score: 0.89,
            ..image
        };
        assert!(gate.judge(&worse).iter().all(|verdict| !verdict.passed));
    }

    #[test]
    fn sizes_have_units() {
        for (text, bytes) in [
            ("0", 0),
            ("1.5kB", 1500),
            ("20 MB", 20_000_000),
            ("1GiB", 1 << 30),
        ] {
            assert_eq!(text.parse(), Ok(Bytes(bytes)), "{text}");
        }
        assert!("MB".parse::<Bytes>().is_err());
        assert!("1XB".parse::<Bytes>().is_err());
    }
}
