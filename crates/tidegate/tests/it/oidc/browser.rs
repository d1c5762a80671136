//! As much of a browser as signing in takes: cookies by host and path, redirects, and the provider's two forms.

use std::net::SocketAddr;

use super::super::harness::{Answer, raw};

/// A browser.
#[derive(Default, Clone)]
pub struct Browser {
    /// Host with port, path, name and value.
    pub jar: Vec<(String, String, String, String)>,
    /// Every `Set-Cookie` that came, with the host it came from.
    pub set: Vec<(String, String)>,
    /// Every address that was asked, in order.
    pub asked: Vec<String>,
}

/// What a browser sends when somebody follows a link.
pub const NAVIGATION: &str = "\naccept: text/html,*/*\nsec-fetch-mode: navigate\nsec-fetch-site: none";

pub fn host_of(url: &str) -> &str {
    let rest = url.strip_prefix("http://").expect("an http address");
    &rest[..rest.find(['/', '?']).unwrap_or(rest.len())]
}

pub fn target_of(url: &str) -> &str {
    let rest = url.strip_prefix("http://").expect("an http address");
    rest.find('/').map_or("/", |at| &rest[at..])
}

impl Browser {
    /// One request, by a method, with further header lines, each with a `\n` in front, and a body.
    pub fn send(&mut self, method: &str, url: &str, headers: &str, body: &str) -> Answer {
        self.asked.push(url.to_owned());
        let (host, target) = (host_of(url).to_owned(), target_of(url));
        let address: SocketAddr = host.parse().expect("an address");
        let path = target.split('?').next().unwrap_or_default();
        let cookies: Vec<String> = self
            .jar
            .iter()
            .filter(|(of, below, ..)| *of == host && (path == below || path.starts_with(below)))
            .map(|(.., name, value)| format!("{name}={value}"))
            .collect();
        let cookie =
            if cookies.is_empty() { String::new() } else { format!("\ncookie: {}", cookies.join("; ")) };
        let length =
            if method == "GET" { String::new() } else { format!("\ncontent-length: {}", body.len()) };
        let head = format!(
            "{method} {target} HTTP/1.1\nhost: {host}{headers}{cookie}{length}\nconnection: close\n\n"
        );
        let bytes = format!("{}{body}", head.replace('\n', "\r\n"));
        let answer = raw(address, bytes.as_bytes());
        let answer = Answer::parse(&answer)
            .unwrap_or_else(|| panic!("no answer from {url}: {}", String::from_utf8_lossy(&answer)));
        for (_, value) in answer.headers.iter().filter(|(name, _)| name == "set-cookie") {
            self.set.push((host.clone(), value.clone()));
            self.keep(&host, value);
        }
        answer
    }

    fn keep(&mut self, host: &str, line: &str) {
        let mut parts = line.split(';').map(str::trim);
        let (name, value) = parts.next().and_then(|pair| pair.split_once('=')).expect("a pair");
        let (mut path, mut is_over) = ("/".to_owned(), false);
        for part in parts {
            match part.split_once('=').map(|(name, value)| (name.to_ascii_lowercase(), value)) {
                Some((name, value)) if name == "path" => value.clone_into(&mut path),
                Some((name, value)) if name == "max-age" => is_over |= value == "0",
                Some((name, value)) if name == "expires" => is_over |= value.contains("1970"),
                _ => {}
            }
        }
        self.jar.retain(|(of, below, known, _)| !(of == host && *below == path && known == name));
        if !is_over {
            self.jar.push((host.to_owned(), path, name.to_owned(), value.to_owned()));
        }
    }

    /// Follows a link.
    pub fn get(&mut self, url: &str) -> Answer {
        self.send("GET", url, NAVIGATION, "")
    }

    /// A script's request.
    pub fn fetch(&mut self, url: &str) -> Answer {
        self.send("GET", url, "\naccept: */*\nsec-fetch-mode: cors\nsec-fetch-site: same-origin", "")
    }

    /// Follows a link and all redirects, and signs in at the provider as `who` where it asks.
    pub fn walk(&mut self, url: &str, who: &str) -> (String, Answer) {
        let mut url = url.to_owned();
        let mut answer = self.get(&url);
        for _ in 0..20 {
            if let Some(next) = answer.header("location") {
                url = if next.starts_with('/') {
                    format!("http://{}{next}", host_of(&url))
                } else {
                    next.to_owned()
                };
                answer = self.get(&url);
                continue;
            }
            let page = answer.text();
            let Some((action, body)) = form(&page, who) else { return (url, answer) };
            url = action;
            let headers = format!("{NAVIGATION}\ncontent-type: application/x-www-form-urlencoded");
            answer = self.send("POST", &url, &headers, &body);
        }
        panic!("it goes on and on: {:?}", self.asked);
    }

    /// The names of the cookies that a host has set and not taken back.
    pub fn names(&self, host: &str) -> Vec<&str> {
        let mut names: Vec<&str> =
            self.jar.iter().filter(|(of, ..)| of == host).map(|(.., name, _)| name.as_str()).collect();
        names.sort_unstable();
        names
    }
}

/// Where a form of the provider's goes, and what somebody would put in.
fn form(page: &str, who: &str) -> Option<(String, String)> {
    let action = between(page, "action=\"", "\"")?.replace("&amp;", "&");
    let body = if page.contains("value=\"login\"") {
        format!("prompt=login&login={who}&password=any")
    } else if page.contains("value=\"consent\"") {
        "prompt=consent".to_owned()
    } else if let Some(xsrf) = between(page, "name=\"xsrf\" value=\"", "\"") {
        format!("xsrf={xsrf}&logout=yes")
    } else {
        return None;
    };
    Some((action, body))
}

pub fn between<'t>(text: &'t str, begin: &str, end: &str) -> Option<&'t str> {
    let from = text.find(begin)? + begin.len();
    let rest = &text[from..];
    Some(&rest[..rest.find(end)?])
}
