//! What a node says about credentials that end.

use std::time::Duration;

use rdcq_certs::Credentials;
use tokio::time::Instant;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// How long before its end a certificate is a matter for the log: long enough for holidays.
const CERTIFICATE_NOTICE: Duration = Duration::from_secs(30 * 24 * 3600);

/// The same for a revocation list, which by default lasts for a month from the start.
const LIST_NOTICE: Duration = Duration::from_secs(10 * 24 * 3600);

/// Says once a day what ends soon.
#[derive(Debug, Default)]
pub(super) struct Reminder {
    last: Option<Instant>,
}

impl Reminder {
    /// Logs what ends soon, unless it was logged within a day.
    pub(super) fn handle_look(&mut self, credentials: &Credentials, now: Instant, unix_s: u64) {
        if self.last.is_some_and(|last| now < last + DAY) {
            return;
        }
        self.last = Some(now);
        let ends =
            Ends { certificate: credentials.not_after_unix_s(), lists: credentials.lists_end_unix_s() };
        for notice in ends.notices(unix_s) {
            tracing::warn!("{notice}");
        }
    }

    /// Lets the next look say what ends soon: there are new credentials.
    pub(super) fn handle_change(&mut self) {
        self.last = None;
    }
}

/// When credentials end, in seconds since 1970.
struct Ends {
    certificate: u64,
    lists: Option<u64>,
}

impl Ends {
    fn notices(&self, unix_s: u64) -> Vec<String> {
        let certificate = ("the node certificate", Some(self.certificate), CERTIFICATE_NOTICE);
        let lists = ("the revocation list", self.lists, LIST_NOTICE);
        [(certificate, "rotate"), (lists, "revoke")]
            .into_iter()
            .filter_map(|((what, end, notice), command)| {
                let end = end.filter(|end| *end < unix_s.saturating_add(notice.as_secs()))?;
                let days = end.saturating_sub(unix_s) / DAY.as_secs();
                let when = if end <= unix_s { "has ended".into() } else { format!("ends in {days} days") };
                Some(format!("{what} {when} (unix time {end} s); `rdcq certs {command}` makes a new one"))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ends_soon_is_named_with_the_days_that_are_left() {
        let day = DAY.as_secs();
        let said = |certificate, lists| Ends { certificate, lists }.notices(100 * day).join("; ");
        assert_eq!(said(130 * day, Some(110 * day)), "");
        assert_eq!(said(130 * day, None), "");
        assert!(said(130 * day - 1, None).starts_with("the node certificate ends in 29 days"));
        assert!(said(200 * day, Some(105 * day)).starts_with("the revocation list ends in 5 days"));
        let both = said(100 * day, Some(99 * day));
        assert!(both.contains("certificate has ended") && both.contains("list has ended"), "{both}");
        assert!(both.contains("`rdcq certs rotate`") && both.contains("`rdcq certs revoke`"), "{both}");
    }
}
