//! Nesting depth of a JSON text, found without parsing its values.

/// Number of levels kept of a text that is nested too deeply to be parsed.
const DEPTH: usize = 100;

/// Tracks the nesting of a JSON text, byte by byte.
#[derive(Default)]
pub struct Nesting {
    depth: usize,
    in_string: bool,
    escaped: bool,
}

impl Nesting {
    /// Returns how many brackets are open after this byte.
    pub fn after(&mut self, byte: u8) -> usize {
        match byte {
            _ if self.escaped => self.escaped = false,
            b'\\' => self.escaped = self.in_string,
            b'"' => self.in_string = !self.in_string,
            _ if self.in_string => {}
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
        self.depth
    }
}

/// Returns true if `shallow` leaves a text as it is.
pub fn is_shallow(text: &str) -> bool {
    let mut nesting = Nesting::default();
    text.bytes().all(|byte| nesting.after(byte) <= DEPTH)
}

/// Returns a JSON text without the parts nested too deeply to be parsed.
pub fn shallow(text: &str) -> String {
    let mut kept = Vec::with_capacity(text.len());
    let mut nesting = Nesting::default();
    let mut before = 0;
    for byte in text.bytes() {
        let depth = nesting.after(byte);
        // The brackets of a part that is left out go with it.
        if before.max(depth) <= DEPTH {
            kept.push(byte);
        } else if before == DEPTH {
            kept.extend(b"\"[left out: nested too deeply]\"");
        }
        before = depth;
    }
    String::from_utf8(kept).expect("whole values are left out")
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn what_is_nested_too_deeply_is_left_out() {
        for levels in [99, 100, 101, 900] {
            let text = format!("{}\"]\\\"[\"{}", "[".repeat(levels), "]".repeat(levels));
            let text = format!("{{\"a\":{text},\"b\":1}}");
            let value: Value = serde_json::from_str(&shallow(&text)).unwrap();
            assert_eq!(value["b"], 1);
            let whole = shallow(&text) == text;
            assert_eq!(whole, levels < 100, "{levels}");
            assert_eq!(whole, is_shallow(&text), "{levels}");
        }
    }
}
