//! Times as listings show them.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::printer;

/// Writes how long ago a moment is; an image may be without one.
pub(super) fn since(moment: Option<Timestamp>) -> String {
    match moment {
        Some(moment) => printer::ago(moment, Timestamp::now()),
        None => "N/A".into(),
    }
}

/// Writes a moment as Go does: `2006-01-02 15:04:05 -0700 MST`.
pub(super) fn at(moment: Option<Timestamp>) -> String {
    match moment {
        Some(moment) => {
            let local = moment.to_zoned_datetime(TimeZone::system());
            local.strftime("%Y-%m-%d %H:%M:%S %z %Z").to_string()
        }
        None => "N/A".into(),
    }
}

/// Writes a moment as RFC 3339 says, to the second.
pub(super) fn rfc3339(moment: Option<Timestamp>) -> String {
    match moment {
        Some(moment) => moment.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        None => "N/A".into(),
    }
}
