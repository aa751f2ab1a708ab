//! As much of Go's `net/url` as a source's identity needs: escaping, and parsing and printing
//! of what begins with `http://` or `https://`. It follows Go 1.27, strict colons included.
//!
//! Bytes, not text: what is unescaped need not be UTF-8, and Go does not mind.

/// Where in a URL something stands, which decides what is escaped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Userinfo,
    Host,
    Zone,
    Path,
    Query,
}

impl Part {
    /// Whether a byte stands for itself here.
    fn allows(self, byte: u8) -> bool {
        let marks: &[u8] = match self {
            Self::Userinfo => b"$&+,;=",
            Self::Host | Self::Zone => b"!$&'()*+,;=:[]<>\"",
            Self::Path => b"$&+,/:;=@",
            Self::Query => b"",
        };
        byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) || marks.contains(&byte)
    }
}

/// Go refuses it; why does not matter to a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refused;

type Parsed<T> = Result<T, Refused>;

fn hex(byte: u8) -> Option<u8> {
    (byte as char).to_digit(16).map(|digit| digit as u8)
}

/// The byte that an escape at the beginning of `text` stands for.
fn escaped(text: &[u8]) -> Parsed<u8> {
    match text {
        [b'%', high, low, ..] => match (hex(*high), hex(*low)) {
            (Some(high), Some(low)) => Ok(high << 4 | low),
            _ => Err(Refused),
        },
        _ => Err(Refused),
    }
}

fn unescape(text: &[u8], part: Part) -> Parsed<Vec<u8>> {
    let in_host = matches!(part, Part::Host | Part::Zone);
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, ..] = rest {
        let mut taken = 1;
        match first {
            b'%' => {
                let byte = escaped(rest)?;
                // A host may only escape what is not ASCII, a zone only what could have been
                // written directly, or a space; and both a percent sign.
                let odd = match part {
                    Part::Host => byte < 0x80,
                    Part::Zone => byte != b' ' && !Part::Host.allows(byte),
                    _ => false,
                };
                if odd && !rest.starts_with(b"%25") {
                    return Err(Refused);
                }
                plain.push(byte);
                taken = 3;
            }
            b'+' if part == Part::Query => plain.push(b' '),
            byte if in_host && byte.is_ascii() && !part.allows(*byte) => return Err(Refused),
            byte => plain.push(*byte),
        }
        rest = &rest[taken..];
    }
    Ok(plain)
}

fn escape(plain: &[u8], part: Part) -> Vec<u8> {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let mut text = Vec::with_capacity(plain.len());
    for &byte in plain {
        match byte {
            b' ' if part == Part::Query => text.push(b'+'),
            _ if part.allows(byte) => text.push(byte),
            _ => {
                text.extend([b'%', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]])
            }
        }
    }
    text
}

/// `url.QueryEscape`.
pub(super) fn query_escape(plain: &[u8]) -> Vec<u8> {
    escape(plain, Part::Query)
}

/// `url.QueryUnescape`.
pub(super) fn query_unescape(text: &[u8]) -> Parsed<Vec<u8>> {
    unescape(text, Part::Query)
}

/// What is left of the first of these bytes, and what is right of it.
fn cut(text: &[u8], at: u8) -> (&[u8], Option<&[u8]>) {
    match text.iter().position(|byte| *byte == at) {
        Some(index) => (&text[..index], Some(&text[index + 1..])),
        None => (text, None),
    }
}

/// A URL with a scheme and `//`, so that its path is empty or begins with a slash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Url {
    scheme: &'static str,
    userinfo: Option<(Vec<u8>, Option<Vec<u8>>)>,
    host: Vec<u8>,
    path: Vec<u8>,
    /// The path as it was written.
    raw_path: Vec<u8>,
    /// A lone question mark at the end.
    force_query: bool,
    /// What is behind the question mark.
    pub(super) query: Vec<u8>,
}

impl Url {
    /// `url.Parse`, then `Fragment = ""`. `None` where it is no `http://` or `https://`.
    pub(super) fn parse(text: &[u8]) -> Option<Parsed<Self>> {
        let schemes = [("http", b"http://".as_slice()), ("https", b"https://")];
        schemes
            .into_iter()
            .find_map(|(scheme, prefix)| Some((scheme, text.strip_prefix(prefix)?)))
            .map(|(scheme, rest)| Self::parse_rest(scheme, rest))
    }

    fn parse_rest(scheme: &'static str, rest: &[u8]) -> Parsed<Self> {
        let (rest, fragment) = cut(rest, b'#');
        if rest.iter().any(u8::is_ascii_control) {
            return Err(Refused);
        }
        let (before, query) = cut(rest, b'?');
        let force_query = query == Some(b"".as_slice());
        let slash = before.iter().position(|byte| *byte == b'/').unwrap_or(before.len());
        let (authority, raw_path) = before.split_at(slash);
        let (userinfo, host) = match authority.iter().rposition(|byte| *byte == b'@') {
            Some(index) => (Some(&authority[..index]), &authority[index + 1..]),
            None => (None, authority),
        };
        let host = parse_host(host)?;
        let userinfo = userinfo.map(parse_userinfo).transpose()?;
        let path = unescape(raw_path, Part::Path)?;
        // Its text is dropped, and still has to be well formed.
        unescape(fragment.unwrap_or_default(), Part::Path)?;
        Ok(Self {
            scheme,
            userinfo,
            host,
            path,
            raw_path: raw_path.to_vec(),
            force_query,
            query: query.unwrap_or_default().to_vec(),
        })
    }

    /// `URL.String`.
    pub(super) fn print(&self) -> Vec<u8> {
        let mut text = self.scheme.as_bytes().to_vec();
        text.push(b':');
        if !self.host.is_empty() || !self.path.is_empty() || self.userinfo.is_some() {
            text.extend(b"//");
        }
        if let Some((name, password)) = &self.userinfo {
            text.extend(escape(name, Part::Userinfo));
            if let Some(password) = password {
                text.push(b':');
                text.extend(escape(password, Part::Userinfo));
            }
            text.push(b'@');
        }
        text.extend(escape(&self.host, Part::Host));
        text.extend(self.escaped_path());
        if self.force_query || !self.query.is_empty() {
            text.push(b'?');
            text.extend(&self.query);
        }
        text
    }

    /// The path as it was written where that is a valid encoding, else as Go would write it.
    fn escaped_path(&self) -> Vec<u8> {
        let kept = |byte: &u8| b"!'()*[]%".contains(byte) || Part::Path.allows(*byte);
        if self.raw_path.iter().all(kept) {
            return self.raw_path.clone();
        }
        escape(&self.path, Part::Path)
    }
}

fn parse_userinfo(text: &[u8]) -> Parsed<(Vec<u8>, Option<Vec<u8>>)> {
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._:~!$&'()*+,;=%@".contains(byte);
    if !text.iter().all(allowed) {
        return Err(Refused);
    }
    let (name, password) = cut(text, b':');
    let name = unescape(name, Part::Userinfo)?;
    let password = password.map(|text| unescape(text, Part::Userinfo)).transpose()?;
    Ok((name, password))
}

fn parse_host(text: &[u8]) -> Parsed<Vec<u8>> {
    match text.iter().rposition(|byte| *byte == b'[') {
        Some(0) => return parse_literal(&text[1..]),
        Some(_) => return Err(Refused),
        None => {}
    }
    if let (_, Some(port)) = cut(text, b':')
        && !is_port(port)
    {
        return Err(Refused);
    }
    unescape(text, Part::Host)
}

fn is_port(text: &[u8]) -> bool {
    text.iter().all(u8::is_ascii_digit)
}

/// An address in brackets; the first of them is gone already.
fn parse_literal(text: &[u8]) -> Parsed<Vec<u8>> {
    let close = text.iter().rposition(|byte| *byte == b']').ok_or(Refused)?;
    let (inner, port) = (&text[..close], &text[close + 1..]);
    match port {
        [] => {}
        [b':', digits @ ..] if is_port(digits) => {}
        _ => return Err(Refused),
    }
    let zone = inner.windows(3).position(|three| three == b"%25").unwrap_or(inner.len());
    let mut host = unescape(&inner[..zone], Part::Host)?;
    host.extend(unescape(&inner[zone..], Part::Zone)?);
    if !is_ipv6(&host) {
        return Err(Refused);
    }
    let mut literal = vec![b'['];
    literal.extend(host);
    literal.push(b']');
    literal.extend(port);
    Ok(literal)
}

/// Whether `netip.ParseAddr` takes it for an address of version 6, with or without a zone.
fn is_ipv6(text: &[u8]) -> bool {
    let (address, zone) = cut(text, b'%');
    let Ok(address) = std::str::from_utf8(address) else { return false };
    zone != Some(b"".as_slice()) && address.parse::<std::net::Ipv6Addr>().is_ok()
}
