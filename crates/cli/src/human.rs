//! Values as people read them.

use greenroom_core::Timestamp;

/// How long ago a moment is, in one number: `12s`, `3m`, `5h`, `9d`.
pub(crate) fn age(at: Timestamp, now: Timestamp) -> String {
    span(now.unix_ms().saturating_sub(at.unix_ms()).max(0).unsigned_abs())
}

/// How long ago a moment is, from now.
pub(crate) fn ago(at: Timestamp) -> String {
    age(at, Timestamp(jiff::Timestamp::now()))
}

/// A span of milliseconds in one number.
pub(crate) fn span(ms: u64) -> String {
    let seconds = ms / 1000;
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m", seconds / 60),
        3_600..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// A number of bytes: `812 B`, `1.4 MiB`.
pub(crate) fn bytes(n: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if n < 1024 {
        return format!("{n} B");
    }
    let mut value = n as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// Text of others as one harmless line: no control characters, so that a title cannot
/// move the cursor or colour the screen.
pub(crate) fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// The beginning of a text, on one line.
pub(crate) fn short(text: &str, longest: usize) -> String {
    let line = clean(text.trim());
    if line.chars().count() <= longest {
        return line;
    }
    let mut cut: String = line.chars().take(longest.saturating_sub(1)).collect();
    cut.push('…');
    cut
}

/// `1 run`, `2 runs`.
pub(crate) fn count(n: usize, thing: &str) -> String {
    match n {
        1 => format!("1 {thing}"),
        n => format!("{n} {thing}s"),
    }
}

/// A moment as a person's clock shows it.
pub(crate) fn moment(at: Timestamp) -> String {
    at.0.to_zoned(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// The time of day of a moment.
pub(crate) fn time_of_day(at: Timestamp) -> String {
    at.0.to_zoned(jiff::tz::TimeZone::system()).strftime("%H:%M:%S").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_have_one_number() {
        let ms = [0, 59_999, 60_000, 3_599_000, 3_600_000, 172_799_000, 172_800_000];
        assert_eq!(ms.map(span), ["0s", "59s", "1m", "59m", "1h", "47h", "2d"]);
        let (early, late) = (Timestamp::from_unix_ms(0), Timestamp::from_unix_ms(5000));
        assert_eq!((age(early, late), age(late, early)), ("5s".into(), "0s".into()));
    }

    #[test]
    fn sizes_have_a_unit() {
        assert_eq!([0, 1023, 1024, 1 << 21].map(bytes), ["0 B", "1023 B", "1.0 KiB", "2.0 MiB"]);
    }

    #[test]
    fn text_of_others_is_harmless() {
        assert_eq!(clean("a\x1b[31mb\r\n"), "a [31mb  ");
        assert_eq!(short("  näh and more ", 6), "näh a…");
    }
}
