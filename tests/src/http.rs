//! A small HTTP/1.1 client: one connection a request, every byte under the test's control.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

use crate::PATIENCE;

/// Where a server is, and as whom it is spoken to.
#[derive(Debug, Clone)]
pub struct Api {
    /// `address:port`.
    pub host: String,
    /// The bearer, if any.
    pub token: Option<String>,
}

/// A request that is being put together.
#[derive(Debug)]
pub struct Request {
    host: String,
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    limit: Duration,
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// Names in lower case, and values.
    pub headers: Vec<(String, String)>,
    /// The body, whole.
    pub body: Vec<u8>,
}

/// An answer whose body is still to come.
#[derive(Debug)]
pub struct Open {
    /// The status.
    pub status: u16,
    /// Names in lower case, and values.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Body,
}

/// A body that is read as it comes.
#[derive(Debug)]
pub struct Body {
    input: BufReader<TcpStream>,
    left: Left,
}

#[derive(Debug)]
enum Left {
    Chunk(u64),
    NextChunk,
    Length(u64),
    UntilClose,
    Nothing,
}

impl Api {
    /// Begins a request. The path is sent as it is.
    pub fn request(&self, method: &str, path: &str) -> Request {
        let mut headers = vec![("connection".to_owned(), "close".to_owned())];
        if let Some(token) = &self.token {
            headers.push(("authorization".to_owned(), format!("Bearer {token}")));
        }
        Request {
            host: self.host.clone(),
            method: method.to_owned(),
            path: path.to_owned(),
            headers,
            body: Vec::new(),
            limit: PATIENCE,
        }
    }

    /// The same server as somebody else.
    pub fn as_token(&self, token: &str) -> Api {
        Api { host: self.host.clone(), token: Some(token.to_owned()) }
    }

    /// The same server as nobody.
    pub fn as_nobody(&self) -> Api {
        Api { host: self.host.clone(), token: None }
    }

    /// GET.
    pub fn get(&self, path: &str) -> Reply {
        self.request("GET", path).send()
    }

    /// POST of a JSON body.
    pub fn post(&self, path: &str, body: Value) -> Reply {
        self.request("POST", path).json(&body).send()
    }

    /// DELETE.
    pub fn delete(&self, path: &str) -> Reply {
        self.request("DELETE", path).send()
    }
}

impl Request {
    /// Adds a header, or replaces one of that name.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(have, _)| !have.eq_ignore_ascii_case(name));
        self.headers.push((name.to_ascii_lowercase(), value.to_owned()));
        self
    }

    /// Leaves a header out.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(have, _)| !have.eq_ignore_ascii_case(name));
        self
    }

    /// With a JSON body.
    #[must_use]
    pub fn json(self, body: &Value) -> Self {
        let bytes = body.to_string().into_bytes();
        self.header("content-type", "application/json").body(bytes)
    }

    /// With these bytes.
    #[must_use]
    pub fn body(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.body = bytes.into();
        self
    }

    /// How long one read of the answer may take.
    #[must_use]
    pub fn within(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Sends it and reads the whole answer; no answer fails the test.
    pub fn send(self) -> Reply {
        let what = format!("{} {}", self.method, self.path);
        self.try_send().unwrap_or_else(|error| panic!("{what}: {error}"))
    }

    /// Sends it and reads the whole answer, or says why there is none.
    pub fn try_send(self) -> io::Result<Reply> {
        let mut open = self.try_open()?;
        let mut body = Vec::new();
        open.body.read_to_end(&mut body)?;
        Ok(Reply { status: open.status, headers: open.headers, body })
    }

    /// Sends it and reads the head of the answer; no answer fails the test.
    pub fn open(self) -> Open {
        let what = format!("{} {}", self.method, self.path);
        self.try_open().unwrap_or_else(|error| panic!("{what}: {error}"))
    }

    /// Sends it and reads the head of the answer, or says why there is none.
    pub fn try_open(self) -> io::Result<Open> {
        let mut stream = TcpStream::connect(&self.host)?;
        stream.set_read_timeout(Some(self.limit))?;
        stream.set_nodelay(true)?;
        let has_host = self.headers.iter().any(|(name, _)| name == "host");
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.path);
        if !has_host {
            head.push_str(&format!("host: {}\r\n", self.host));
        }
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        let bodiless = self.body.is_empty() && matches!(self.method.as_str(), "GET" | "HEAD");
        if !bodiless {
            head.push_str(&format!("content-length: {}\r\n", self.body.len()));
        }
        head.push_str("\r\n");
        stream.write_all(head.as_bytes())?;
        // A server may answer before it has read everything, and close.
        let sent = stream.write_all(&self.body);
        let answer = read_head(stream, &self.method);
        match (answer, sent) {
            (Err(_), Err(error)) | (Err(error), Ok(())) => Err(error),
            (Ok(open), _) => Ok(open),
        }
    }
}

fn read_head(stream: TcpStream, method: &str) -> io::Result<Open> {
    let mut input = BufReader::new(stream);
    let mut line = String::new();
    input.read_line(&mut line)?;
    let status = line
        .split(' ')
        .nth(1)
        .and_then(|word| word.parse().ok())
        .ok_or_else(|| io::Error::other(format!("no answer ({line:?})")))?;
    let mut headers = Vec::new();
    loop {
        line.clear();
        input.read_line(&mut line)?;
        let text = line.trim_end();
        if text.is_empty() {
            break;
        }
        if let Some((name, value)) = text.split_once(':') {
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    let find = |name: &str| headers.iter().find(|(have, _)| have == name).map(|(_, v)| v.clone());
    let left = if method == "HEAD" || status == 204 || status == 304 {
        Left::Nothing
    } else if find("transfer-encoding").is_some_and(|value| value.contains("chunked")) {
        Left::NextChunk
    } else if let Some(length) = find("content-length").and_then(|value| value.parse().ok()) {
        Left::Length(length)
    } else {
        Left::UntilClose
    };
    Ok(Open { status, headers, body: Body { input, left } })
}

impl Body {
    /// How long one read may take from now on.
    pub fn within(&self, limit: Duration) -> io::Result<()> {
        self.input.get_ref().set_read_timeout(Some(limit))
    }
}

impl Read for Body {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.left {
                Left::Nothing | Left::Length(0) => return Ok(0),
                Left::UntilClose => return self.input.read(into),
                Left::Length(left) => {
                    let most = into.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                    let n = self.input.read(&mut into[..most])?;
                    if n == 0 {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                    self.left = Left::Length(left - n as u64);
                    return Ok(n);
                }
                Left::Chunk(0) => {
                    let mut end = [0; 2];
                    self.input.read_exact(&mut end)?;
                    self.left = Left::NextChunk;
                }
                Left::Chunk(left) => {
                    let most = into.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                    let n = self.input.read(&mut into[..most])?;
                    if n == 0 {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                    self.left = Left::Chunk(left - n as u64);
                    return Ok(n);
                }
                Left::NextChunk => {
                    let mut line = String::new();
                    if self.input.read_line(&mut line)? == 0 {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                    let size = line.trim().split(';').next().unwrap_or("");
                    let size = u64::from_str_radix(size, 16)
                        .map_err(|_| io::Error::other(format!("not a chunk size: {line:?}")))?;
                    self.left = if size == 0 { Left::Nothing } else { Left::Chunk(size) };
                }
            }
        }
    }
}

impl Reply {
    /// The header of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(have, _)| have == name).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON; `null` where there is none.
    pub fn json(&self) -> Value {
        if self.body.is_empty() {
            return Value::Null;
        }
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("not JSON ({error}): {}", self.text()))
    }

    /// The body, if the request was granted; else the test fails.
    #[track_caller]
    pub fn granted(&self) -> Value {
        assert!((200..300).contains(&self.status), "{}: {}", self.status, self.text());
        self.json()
    }

    /// The body, if the status is this one; else the test fails.
    #[track_caller]
    pub fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "expected {status}: {}", self.text());
        self.json()
    }

    /// Checks that this is a problem of that status and code, in the right form.
    #[track_caller]
    pub fn problem(&self, status: u16, code: &str) -> Value {
        let body = self.expect(status);
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{body}");
        assert_eq!(body["code"], code, "{body}");
        assert!(!body["detail"].as_str().unwrap_or("").is_empty(), "{body}");
        body
    }

    /// Checks that this is a problem of that status, whatever its code.
    #[track_caller]
    pub fn refused(&self, status: u16) -> Value {
        let body = self.expect(status);
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{body}");
        assert!(!body["code"].as_str().unwrap_or("").is_empty(), "{body}");
        body
    }
}

/// Percent-encodes one segment of a path, whatever it holds.
pub fn encode(segment: &str) -> String {
    segment
        .bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            // A lone `..` would be taken for a step upwards.
            b'.' if segment.trim_matches('.').is_empty() => "%2E".to_owned(),
            b'.' => ".".to_owned(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}
