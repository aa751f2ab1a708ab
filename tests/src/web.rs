//! A web server of a test's own: it serves what it is told, and remembers what it was asked.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Instant;

use crate::PATIENCE;

/// What a path answers.
#[derive(Debug, Clone)]
pub enum Page {
    /// This body, with this ETag where there is one.
    Body(String, Option<String>),
    /// A redirect to this place.
    Redirect(String),
    /// Nothing but this status.
    Status(u16),
    /// A body without an end.
    Endless,
    /// Nothing at all; the connection stays open.
    Silence,
}

/// One request that came in.
#[derive(Debug, Clone)]
pub struct Asked {
    /// Path and query.
    pub path: String,
    /// Headers, with their names in small letters.
    pub headers: BTreeMap<String, String>,
    /// What it brought, where it says how much that is.
    pub body: Vec<u8>,
    /// What was answered; 0 for silence.
    pub status: u16,
}

#[derive(Debug, Default)]
struct State {
    pages: BTreeMap<String, Page>,
    asked: Vec<Asked>,
    /// Connections that are kept open without an answer.
    silent: Vec<TcpStream>,
}

/// A web server on loopback. It ends with the test's process.
#[derive(Debug, Clone)]
pub struct Web {
    /// Its port.
    pub port: u16,
    state: Arc<(Mutex<State>, Condvar)>,
}

impl Web {
    /// Starts one that has no pages yet.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let web = Self { port, state: Arc::default() };
        let own = web.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let web = own.clone();
                std::thread::spawn(move || web.answer(stream));
            }
        });
        web
    }

    /// The URL of a path.
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// From now on, this path (with its query) answers so.
    pub fn page(&self, path: &str, page: Page) {
        self.lock().pages.insert(path.to_owned(), page);
    }

    /// From now on, this path answers this body.
    pub fn body(&self, path: &str, body: String) {
        self.page(path, Page::Body(body, None));
    }

    /// Everything that was asked for.
    pub fn asked(&self) -> Vec<Asked> {
        self.lock().asked.clone()
    }

    /// Waits until requests that fit have come in, so many beyond those before `since`.
    pub fn wait(&self, since: usize, count: usize, fits: impl Fn(&Asked) -> bool) {
        let begun = Instant::now();
        let mut state = self.lock();
        while state.asked.iter().skip(since).filter(|asked| fits(asked)).count() < count {
            let left = PATIENCE.checked_sub(begun.elapsed());
            let left = left.unwrap_or_else(|| panic!("it was not asked: {:#?}", state.asked));
            state = self.state.1.wait_timeout(state, left).expect("no poison").0;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.0.lock().expect("no poison")
    }

    fn answer(&self, stream: TcpStream) {
        let mut reader = BufReader::new(stream.try_clone().expect("a stream"));
        let mut first = String::new();
        if reader.read_line(&mut first).is_err() {
            return;
        }
        let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
        let mut headers = BTreeMap::new();
        for line in reader.by_ref().lines().map_while(Result::ok) {
            let Some((name, value)) = line.split_once(':') else { break };
            headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
        let length = headers.get("content-length").and_then(|length| length.parse().ok());
        let mut brought = vec![0; length.unwrap_or(0)];
        if reader.read_exact(&mut brought).is_err() {
            return;
        }
        let page = self.lock().pages.get(&path).cloned().unwrap_or(Page::Status(404));
        let (status, mut head, body) = match &page {
            Page::Body(_, Some(tag)) if headers.get("if-none-match") == Some(tag) => {
                (304, String::new(), String::new())
            }
            Page::Body(body, Some(tag)) => (200, format!("ETag: {tag}\r\n"), body.clone()),
            Page::Body(body, None) => (200, String::new(), body.clone()),
            Page::Redirect(to) => (302, format!("Location: {to}\r\n"), String::new()),
            Page::Status(status) => (*status, String::new(), String::new()),
            Page::Endless => (200, String::new(), String::new()),
            Page::Silence => (0, String::new(), String::new()),
        };
        let mut state = self.lock();
        state.asked.push(Asked { path, headers, body: brought, status });
        if status == 0 {
            state.silent.push(stream.try_clone().expect("a stream"));
        }
        drop(state);
        self.state.1.notify_all();
        if status == 0 {
            return;
        }
        let endless = matches!(page, Page::Endless);
        if !endless {
            head.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        let mut stream = stream;
        let _ = write!(stream, "HTTP/1.1 {status} Said\r\nConnection: close\r\n{head}\r\n{body}");
        while endless && stream.write_all(&[b' '; 65536]).is_ok() {}
    }
}
