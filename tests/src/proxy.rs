//! A network between runner and coordinator that loses, repeats and delays what it is told to.
//!
//! Each connection carries one request, so that a rule can decide about every one of them.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// What becomes of a request.
#[derive(Debug, Clone)]
pub enum Fate {
    /// It arrives, and its answer too.
    Pass,
    /// It never arrives.
    Lose,
    /// It arrives, and its answer is lost.
    LoseAnswer,
    /// It arrives twice, and the second answer is the one that is heard.
    Twice,
    /// It is answered, as the network has it, with these bytes of an earlier answer.
    Stale(Arc<Vec<u8>>),
}

/// A request, and what was answered to it.
#[derive(Debug, Clone)]
pub struct Passed {
    /// `sync`, `records`, `computes`, `runs`, `streams` or `enroll`.
    pub call: String,
    /// The answer, head and body, as it came.
    pub answer: Arc<Vec<u8>>,
}

type Rule = Box<dyn FnMut(&str, &[Passed]) -> Fate + Send>;

struct Inner {
    to: String,
    rule: Mutex<Rule>,
    passed: Mutex<Vec<Passed>>,
    /// Nothing goes through, not even the answer to what was asked before.
    cut: AtomicBool,
    closed: AtomicBool,
}

/// The network. It is gone with this value.
pub struct Proxy {
    /// Where runners dial.
    pub host: String,
    inner: Arc<Inner>,
}

impl std::fmt::Debug for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Proxy").field("host", &self.host).finish_non_exhaustive()
    }
}

impl Proxy {
    /// A network to this coordinator, in which nothing goes wrong yet.
    pub fn to(host: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let own = listener.local_addr().expect("an address").to_string();
        let inner = Arc::new(Inner {
            to: host.to_owned(),
            rule: Mutex::new(Box::new(|_, _| Fate::Pass)),
            passed: Mutex::default(),
            cut: AtomicBool::new(false),
            closed: AtomicBool::new(false),
        });
        let accepting = Arc::clone(&inner);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if accepting.closed.load(Ordering::SeqCst) {
                    return;
                }
                let inner = Arc::clone(&accepting);
                std::thread::spawn(move || inner.serve(stream));
            }
        });
        Self { host: own, inner }
    }

    /// From now on this decides about each request, by its call and by all that was answered.
    pub fn rule(&self, rule: impl FnMut(&str, &[Passed]) -> Fate + Send + 'static) {
        *self.inner.rule.lock().expect("no poison") = Box::new(rule);
    }

    /// Parts the two sides, or joins them again.
    pub fn cut(&self, cut: bool) {
        self.inner.cut.store(cut, Ordering::SeqCst);
    }

    /// Every exchange that came to an answer so far.
    pub fn passed(&self) -> Vec<Passed> {
        self.inner.passed.lock().expect("no poison").clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.inner.closed.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(&self.host);
    }
}

impl Passed {
    /// The body of the answer.
    pub fn body(&self) -> &[u8] {
        let end = self.answer.windows(4).position(|four| four == b"\r\n\r\n");
        end.map_or(&[], |end| &self.answer[end + 4..])
    }
}

impl Inner {
    /// A broken connection is what this is for, so nobody is told of one.
    fn serve(&self, stream: TcpStream) {
        let Ok((call, request)) = read_request(&stream, &self.to) else { return };
        let fate = {
            let mut rule = self.rule.lock().expect("no poison");
            rule(&call, &self.passed.lock().expect("no poison"))
        };
        match fate {
            _ if self.cut.load(Ordering::SeqCst) => {}
            Fate::Lose => {}
            Fate::Stale(answer) => drop((&stream).write_all(&answer)),
            Fate::LoseAnswer => drop(self.forward(&call, &request)),
            Fate::Twice => {
                let _ = self.forward(&call, &request);
                self.answer(&stream, &call, &request);
            }
            Fate::Pass => self.answer(&stream, &call, &request),
        }
    }

    fn answer(&self, mut stream: &TcpStream, call: &str, request: &[u8]) {
        if let Ok(answer) = self.forward(call, request)
            && !self.cut.load(Ordering::SeqCst)
        {
            let _ = stream.write_all(&answer);
        }
    }

    fn forward(&self, call: &str, request: &[u8]) -> io::Result<Arc<Vec<u8>>> {
        let mut stream = TcpStream::connect(&self.to)?;
        stream.write_all(request)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        if answer.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let answer = Arc::new(answer);
        let passed = Passed { call: call.to_owned(), answer: Arc::clone(&answer) };
        self.passed.lock().expect("no poison").push(passed);
        Ok(answer)
    }
}

/// Reads a whole request, and says what it calls. It is addressed anew, and its connection
/// is not kept.
fn read_request(stream: &TcpStream, to: &str) -> io::Result<(String, Vec<u8>)> {
    let mut input = BufReader::new(stream);
    let mut line = String::new();
    input.read_line(&mut line)?;
    let call = line
        .split(' ')
        .nth(1)
        .and_then(|path| path.strip_prefix("/v1/link/"))
        .and_then(|path| path.split(['/', '?']).next())
        .ok_or_else(|| io::Error::other(format!("not of the link: {line:?}")))?
        .to_owned();
    let mut request = line.clone();
    request.push_str(&format!("host: {to}\r\nconnection: close\r\n"));
    let (mut length, mut chunked) = (0, false);
    loop {
        line.clear();
        if input.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let lower = line.to_ascii_lowercase();
        if lower.trim_end().is_empty() {
            break;
        }
        let (name, value) = lower.split_once(':').unwrap_or((&lower, ""));
        match name {
            "host" | "connection" | "expect" => continue,
            "content-length" => length = value.trim().parse().map_err(io::Error::other)?,
            "transfer-encoding" => chunked = value.contains("chunked"),
            _ => {}
        }
        request.push_str(&line);
    }
    request.push_str("\r\n");
    let mut request = request.into_bytes();
    if chunked {
        read_chunks(&mut input, &mut request)?;
    } else {
        let begin = request.len();
        request.resize(begin + length, 0);
        input.read_exact(&mut request[begin..])?;
    }
    Ok((call, request))
}

/// Copies a chunked body as it is.
fn read_chunks(input: &mut impl BufRead, into: &mut Vec<u8>) -> io::Result<()> {
    loop {
        let mut line = String::new();
        input.read_line(&mut line)?;
        into.extend_from_slice(line.as_bytes());
        let size = usize::from_str_radix(line.trim().split(';').next().unwrap_or(""), 16)
            .map_err(io::Error::other)?;
        let begin = into.len();
        into.resize(begin + size + 2, 0);
        input.read_exact(&mut into[begin..])?;
        if size == 0 {
            return Ok(());
        }
    }
}
