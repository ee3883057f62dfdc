//! Numbers with their nouns and units, for people.

/// A number with its noun.
pub(crate) fn plural(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// A size in the largest binary unit that it reaches, with at most one decimal.
pub(crate) fn bytes(size: u64) -> String {
    let (mut value, mut unit) = (size as f64, "bytes");
    for larger in ["KiB", "MiB", "GiB", "TiB", "PiB"] {
        if value < 1024.0 {
            break;
        }
        (value, unit) = (value / 1024.0, larger);
    }
    let tenths = (value * 10.0).round() / 10.0;
    format!("{tenths} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_readable() {
        assert_eq!(bytes(1023), "1023 bytes");
        assert_eq!(bytes(32768), "32 KiB");
        assert_eq!(bytes((1 << 31) - 4), "2 GiB");
        assert_eq!(bytes(3 << 29), "1.5 GiB");
    }
}
