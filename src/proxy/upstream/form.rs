//! Form bodies as they are sent.

/// `application/x-www-form-urlencoded`.
pub fn encode_form(pairs: &[(&str, String)]) -> String {
    let encoded = pairs.iter().map(|(name, value)| format!("{}={}", percent_encode(name), percent_encode(value)));
    encoded.collect::<Vec<_>>().join("&")
}

fn percent_encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(byte as char),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::params::Params;

    #[test]
    fn forms_are_encoded_so_that_they_decode_to_the_same() {
        let form = [("query", "sum(rate(x{a=\"b&c\"}[5m])) + 1%é".to_owned()), ("step", "15".to_owned())];
        let params = Params::parse("", encode_form(&form).as_bytes());
        assert_eq!(params.get("query"), Some(form[0].1.as_str()));
        assert_eq!(params.get("step"), Some("15"));
    }
}
