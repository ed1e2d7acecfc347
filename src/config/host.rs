//! Keys that name a host, without a port or a URL around it.

use super::section::Section;

impl Section {
    /// Returns the host in a required key.
    pub fn required_host(&self, key: &str) -> Option<&str> {
        let text = self.required(key)?;
        let Some(problem) = misfit(key, text) else {
            return Some(text);
        };
        self.problem(
            key,
            format!("`{key}` must be only a host name or address; {problem}"),
        );
        None
    }
}

/// Returns the problem of a text that is not exactly a host.
fn misfit(key: &str, text: &str) -> Option<String> {
    if let Some((scheme, _)) = text.split_once("://") {
        return Some(format!("remove `{scheme}://`"));
    }
    if text.contains(char::is_whitespace) {
        return Some("it contains a space; put a comment on a line of its own".to_owned());
    }
    if let Some(character) = text
        .chars()
        .find(|character| "/@,;'\"`".contains(*character))
    {
        return Some(format!("remove the `{character}`"));
    }
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None if text.matches(':').count() == 1 => text.split_once(':')?,
        // A name, or an IPv6 address.
        None => return None,
    };
    let port = port.trim_start_matches(':');
    Some(match port.is_empty() {
        true => format!("write `{key} = {host}`"),
        false => format!("use `port`: `{key} = {host}` and `port = {port}`"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_alone() {
        for host in [
            "mail",
            "mail.example.com",
            "127.0.0.1",
            "::1",
            "fe80::1%eth0",
            "a_b",
        ] {
            assert_eq!(misfit("host", host), None, "{host}");
        }
        for (text, said) in [
            (
                "127.0.0.1:25",
                "use `port`: `host = 127.0.0.1` and `port = 25`",
            ),
            ("[::1]:25", "use `port`: `host = ::1` and `port = 25`"),
            ("[::1]", "write `host = ::1`"),
            ("smtp://mail", "remove `smtp://`"),
            (
                "mail # here",
                "it contains a space; put a comment on a line of its own",
            ),
            ("\"mail\"", "remove the `\"`"),
            ("a,b", "remove the `,`"),
        ] {
            assert_eq!(misfit("host", text).as_deref(), Some(said), "{text}");
        }
    }
}
