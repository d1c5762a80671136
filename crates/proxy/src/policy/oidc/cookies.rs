//! The policy's cookies: found among all that a browser sends, put together where one did not hold the text, written
//! with all that keeps them to that browser, and taken out before the request goes on.

use http::{HeaderMap, HeaderValue, header};
use model::policy::oidc::SessionCookie;

/// Characters of a value at most; with name and attributes browsers take 4,096.
const VALUE_CHARS_MAX: usize = 3_600;
/// Cookies of one session at most.
const PIECES_MAX: usize = 8;
/// Sign-ins that a browser may have begun at a time; the cookies of more are taken back.
const LOGINS_MAX: usize = 8;
/// Stands before the count of pieces; no encrypted text begins so.
const MANY: u8 = b'~';

/// The names of a policy's cookies, and what they are written with.
pub(super) struct Cookies {
    session: String,
    login: String,
    attributes: String,
}

/// A session's text has more than the browser would keep.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooLarge;

impl Cookies {
    pub(super) fn new(settings: &SessionCookie) -> Self {
        let prefix = match (settings.secure, &settings.domain) {
            (true, None) => "__Host-",
            (true, Some(_)) => "__Secure-",
            (false, _) => "",
        };
        let mut attributes = "; Path=/; HttpOnly; SameSite=Lax".to_owned();
        if settings.secure {
            attributes.push_str("; Secure");
        }
        if let Some(domain) = &settings.domain {
            attributes.push_str("; Domain=");
            attributes.push_str(domain);
        }
        let session = format!("{prefix}{}", settings.name);
        Self { login: format!("{session}-login."), session, attributes }
    }

    /// The text of a session, however many cookies it is in.
    pub(super) fn session(&self, headers: &HeaderMap) -> Option<Vec<u8>> {
        let mut first = None;
        for (name, value) in pairs(headers) {
            // Of two of one name nobody knows which is meant: somebody else may have put one there.
            if name == self.session.as_bytes() && first.replace(value).is_some() {
                return None;
            }
        }
        let first = first?;
        let Some(rest) = first.strip_prefix(&[MANY]) else { return Some(first.to_vec()) };
        let (count, begin) = rest.split_first()?;
        let count = usize::from(count.wrapping_sub(b'0'));
        if !(2..=PIECES_MAX).contains(&count) || begin.first() != Some(&MANY) {
            return None;
        }
        let mut pieces: [Option<&[u8]>; PIECES_MAX] = [None; PIECES_MAX];
        for (name, value) in pairs(headers) {
            let place = self.piece(name).filter(|place| (1..count).contains(place));
            if let Some(piece) = place.and_then(|place| pieces.get_mut(place))
                && piece.replace(value).is_some()
            {
                return None;
            }
        }
        let mut text = begin.get(1..)?.to_vec();
        for piece in pieces.get(1..count)? {
            text.extend_from_slice((*piece)?);
        }
        Some(text)
    }

    /// Which piece of a session a cookie is, beside the first.
    fn piece(&self, name: &[u8]) -> Option<usize> {
        match name.strip_prefix(self.session.as_bytes())? {
            [b'.', digit @ b'1'..=b'7'] => Some(usize::from(digit - b'0')),
            _ => None,
        }
    }

    /// The cookies that keep a session, and those that take back what it no longer needs.
    pub(super) fn keep(
        &self,
        headers: &HeaderMap,
        text: &str,
        age: u64,
    ) -> Result<Vec<HeaderValue>, TooLarge> {
        let count = text.len().div_ceil(VALUE_CHARS_MAX).max(1);
        if count > PIECES_MAX {
            return Err(TooLarge);
        }
        let mut out = Vec::with_capacity(count);
        let mut rest = text;
        for place in 0..count {
            let (piece, more) = rest.split_at_checked(VALUE_CHARS_MAX.min(rest.len())).ok_or(TooLarge)?;
            rest = more;
            let name = self.name(place);
            let value = match place {
                0 if count > 1 => format!("{name}=~{count}~{piece}"),
                _ => format!("{name}={piece}"),
            };
            out.extend(self.written(&value, age));
        }
        out.extend(self.forget_from(headers, count));
        Ok(out)
    }

    /// Takes back the cookies of a session, as far as the browser has shown them.
    pub(super) fn forget(&self, headers: &HeaderMap) -> Vec<HeaderValue> {
        self.forget_from(headers, 0)
    }

    fn forget_from(&self, headers: &HeaderMap, from: usize) -> Vec<HeaderValue> {
        let shown = |place: &usize| pairs(headers).any(|(name, _)| name == self.name(*place).as_bytes());
        let names = (from..PIECES_MAX).filter(shown).map(|place| self.name(place));
        names.filter_map(|name| self.written(&format!("{name}="), 0)).collect()
    }

    fn name(&self, place: usize) -> String {
        match place {
            0 => self.session.clone(),
            place => format!("{}.{place}", self.session),
        }
    }

    /// The text of a sign-in that this browser has begun.
    pub(super) fn login<'h>(&self, headers: &'h HeaderMap, state: &str) -> Option<&'h [u8]> {
        let wanted = self.login_name(state)?;
        let mut found = None;
        for (name, value) in pairs(headers) {
            if name == wanted.as_bytes() && found.replace(value).is_some() {
                return None;
            }
        }
        found
    }

    /// The cookies that keep a sign-in; the oldest go where there are too many.
    pub(super) fn keep_login(
        &self,
        headers: &HeaderMap,
        state: &str,
        text: &str,
        age: u64,
    ) -> Vec<HeaderValue> {
        let mut out: Vec<HeaderValue> = Vec::new();
        let begun = pairs(headers).filter(|(name, _)| name.starts_with(self.login.as_bytes()));
        let begun: Vec<&[u8]> = begun.map(|(name, _)| name).collect();
        let over = (begun.len() + 1).saturating_sub(LOGINS_MAX);
        out.extend(begun.into_iter().take(over).filter_map(|name| self.take_back(name)));
        if let Some(name) = self.login_name(state) {
            out.extend(self.written(&format!("{name}={text}"), age));
        }
        out
    }

    /// Takes back the cookie of a sign-in.
    pub(super) fn forget_login(&self, state: &str) -> Option<HeaderValue> {
        self.take_back(self.login_name(state)?.as_bytes())
    }

    fn take_back(&self, name: &[u8]) -> Option<HeaderValue> {
        self.written(&format!("{}=", std::str::from_utf8(name).ok()?), 0)
    }

    /// A part of the state tells sign-ins apart; whether all of it fits is judged by the text.
    fn login_name(&self, state: &str) -> Option<String> {
        let part = state.get(..16)?;
        let is_plain = part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
        is_plain.then(|| format!("{}{part}", self.login))
    }

    fn written(&self, pair: &str, age: u64) -> Option<HeaderValue> {
        let mut value = HeaderValue::from_str(&format!("{pair}{}; Max-Age={age}", self.attributes)).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    fn is_own(&self, name: &[u8]) -> bool {
        name == self.session.as_bytes()
            || self.piece(name).is_some()
            || name.starts_with(self.login.as_bytes())
    }

    /// Whether a request has any of these cookies.
    pub(super) fn is_any(&self, headers: &HeaderMap) -> bool {
        pairs(headers).any(|(name, _)| self.is_own(name))
    }

    /// Takes all of them out of a request; others stay as they are.
    pub(super) fn hide(&self, headers: &mut HeaderMap) {
        if !self.is_any(headers) {
            return;
        }
        let values: Vec<HeaderValue> = headers.get_all(header::COOKIE).iter().cloned().collect();
        headers.remove(header::COOKIE);
        for value in values {
            let kept: Vec<&[u8]> = value
                .as_bytes()
                .split(|byte| *byte == b';')
                .map(<[u8]>::trim_ascii)
                .filter(|pair| !pair.is_empty() && !self.is_own(name_of(pair)))
                .collect();
            if let Ok(value) = HeaderValue::from_bytes(&kept.join(&b"; "[..]))
                && !value.is_empty()
            {
                headers.append(header::COOKIE, value);
            }
        }
    }
}

fn name_of(pair: &[u8]) -> &[u8] {
    pair.split(|byte| *byte == b'=').next().unwrap_or_default().trim_ascii()
}

/// Names and values of all cookies, as they stand there.
fn pairs(headers: &HeaderMap) -> impl Iterator<Item = (&[u8], &[u8])> {
    let values = headers.get_all(header::COOKIE).into_iter();
    values.flat_map(|value| value.as_bytes().split(|byte| *byte == b';')).filter_map(|pair| {
        let at = pair.iter().position(|byte| *byte == b'=')?;
        Some((pair.get(..at)?.trim_ascii(), pair.get(at + 1..)?.trim_ascii()))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cookies() -> Cookies {
        Cookies::new(&SessionCookie::default())
    }

    /// What a browser sends that was given these.
    fn sent(set: &[HeaderValue], beside: &str) -> HeaderMap {
        let pairs = set.iter().filter(|value| !value.to_str().expect("text").contains("Max-Age=0"));
        let pairs = pairs.map(|value| value.to_str().expect("text").split(';').next().expect("a pair"));
        let all: Vec<&str> = std::iter::once(beside).chain(pairs).collect();
        let mut headers = HeaderMap::new();
        headers.insert(header::COOKIE, HeaderValue::from_str(&all.join("; ")).expect("a value"));
        headers
    }

    #[test]
    fn a_cookie_stays_with_its_host_and_is_shown_to_no_script() {
        let set = cookies().keep(&HeaderMap::new(), "abc", 60).expect("small");
        assert_eq!(set, ["__Host-tidegate-session=abc; Path=/; HttpOnly; SameSite=Lax; Secure; Max-Age=60"]);
        let wide = SessionCookie { domain: Some("example.test".to_owned()), ..SessionCookie::default() };
        let set = Cookies::new(&wide).keep(&HeaderMap::new(), "abc", 60).expect("small");
        assert!(set[0].to_str().expect("text").starts_with("__Secure-"), "{set:?}");
    }

    #[test]
    fn a_long_text_is_in_several_cookies_and_those_go_with_it() {
        let text = "x".repeat(10_000);
        let set = cookies().keep(&HeaderMap::new(), &text, 60).expect("fits");
        assert_eq!(set.len(), 3);
        assert!(set.iter().all(|value| value.len() <= 4_096), "{set:?}");
        let mut headers = sent(&set, "other=1");
        assert_eq!(cookies().session(&headers), Some(text.into_bytes()));
        let shorter = cookies().keep(&headers, "abc", 60).expect("small");
        assert_eq!(shorter.len(), 3, "two are taken back: {shorter:?}");
        assert_eq!(cookies().forget(&headers).len(), 3);
        cookies().hide(&mut headers);
        assert_eq!(headers[header::COOKIE], "other=1");
        assert_eq!(cookies().keep(&HeaderMap::new(), &"x".repeat(30_000), 60), Err(TooLarge));
    }

    #[test]
    fn what_is_there_twice_or_in_part_is_no_session() {
        for text in [
            "__Host-tidegate-session=a; __Host-tidegate-session=b",
            "__Host-tidegate-session=~3~a; __Host-tidegate-session.1=b",
            "__Host-tidegate-session=~2~a; __Host-tidegate-session.1=b; __Host-tidegate-session.1=c",
            "__Host-tidegate-session=~1~a",
            "__Host-tidegate-session=~9~a",
            "__Host-tidegate-session=~",
            "tidegate-session=a",
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::COOKIE, HeaderValue::from_static(text));
            assert_eq!(cookies().session(&headers), None, "{text}");
        }
    }

    #[test]
    fn many_sign_ins_at_a_time_do_not_fill_the_browser() {
        let state = |n: usize| format!("{n:016}-rest-of-the-state");
        let mut headers = HeaderMap::new();
        for n in 0..LOGINS_MAX {
            let set = cookies().keep_login(&HeaderMap::new(), &state(n), "text", 60);
            let pair = set[0].to_str().expect("text").split(';').next().expect("a pair");
            headers.append(header::COOKIE, HeaderValue::from_str(pair).expect("a value"));
        }
        let set = cookies().keep_login(&headers, &state(99), "text", 60);
        assert_eq!(set.len(), 2, "the oldest is taken back: {set:?}");
        assert!(set[0].to_str().expect("text").contains("0000=; "), "{set:?}");
        assert_eq!(cookies().login(&headers, &state(3)), Some(&b"text"[..]));
        assert_eq!(cookies().login(&headers, "short"), None);
    }

    proptest! {
        #[test]
        fn any_text_comes_back_whole(text in "[A-Za-z0-9_-]{0,20000}", beside in "[ -~&&[^;]]{0,40}") {
            let set = cookies().keep(&HeaderMap::new(), &text, 60).expect("fits");
            let mut headers = sent(&set, &beside);
            let own = pairs(&headers).filter(|(name, _)| cookies().is_own(name)).count();
            prop_assume!(own == set.len());
            prop_assert_eq!(cookies().session(&headers), Some(text.into_bytes()));
            cookies().hide(&mut headers);
            prop_assert!(!cookies().is_any(&headers));
        }

        #[test]
        fn any_cookies_are_read_without_harm(text in "((__Host-tidegate-session(\\.[0-9]|-login\\.)?|~|=|;| |[0-9a-z]){0,30})") {
            let mut headers = HeaderMap::new();
            headers.insert(header::COOKIE, HeaderValue::from_str(&text).expect("a value"));
            let _ = cookies().session(&headers);
            let _ = cookies().login(&headers, &text);
            let _ = cookies().forget(&headers);
            cookies().hide(&mut headers);
            prop_assert!(!cookies().is_any(&headers));
        }
    }
}
