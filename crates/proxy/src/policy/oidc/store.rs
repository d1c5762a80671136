//! Where sessions are: in browsers' cookies, encrypted, or in the store that gateways share, encrypted too, with an id of
//! their own in the cookie.

use std::sync::{Arc, LazyLock};

use ::redis::{Script, Value};

use super::{
    ended::{Of, mark},
    seal::{self, Seal},
    session::Session,
};
use crate::{hex::hex, ledger::shared::Accounts};

static GET: LazyLock<Script> = LazyLock::new(|| Script::new("return redis.call('GET', KEYS[1])"));
static PUT: LazyLock<Script> =
    LazyLock::new(|| Script::new("return redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])"));
/// What has ended meanwhile stays so.
static AGAIN: LazyLock<Script> =
    LazyLock::new(|| Script::new("return redis.call('SET', KEYS[1], ARGV[1], 'XX', 'PX', ARGV[2])"));
static DROP: LazyLock<Script> = LazyLock::new(|| Script::new("return redis.call('DEL', KEYS[1])"));
static LOCK: LazyLock<Script> =
    LazyLock::new(|| Script::new("return redis.call('SET', KEYS[1], ARGV[2], 'NX', 'PX', ARGV[1])"));
/// Whoever took longer than its lock lasts has none any more, and must not give free another's.
static UNLOCK: LazyLock<Script> = LazyLock::new(|| {
    Script::new("return redis.call('GET', KEYS[1]) == ARGV[1] and redis.call('DEL', KEYS[1])")
});
/// Sessions of one name: who has which is told when the provider ends them. Of too many the oldest are not found.
static LIST: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ARGV[3])
        redis.call('ZADD', KEYS[1], ARGV[2], ARGV[1])
        local over = redis.call('ZCARD', KEYS[1]) - 1000
        if over > 0 then redis.call('ZREMRANGEBYRANK', KEYS[1], 0, over - 1) end
        local left = ARGV[2] - ARGV[3]
        if redis.call('PTTL', KEYS[1]) < left then redis.call('PEXPIRE', KEYS[1], left) end
        return 1",
    )
});
static LISTED: LazyLock<Script> =
    LazyLock::new(|| Script::new("return redis.call('ZRANGE', KEYS[1], 0, -1)"));
static IS_THERE: LazyLock<Script> = LazyLock::new(|| Script::new("return redis.call('EXISTS', KEYS[1])"));
static UNLIST: LazyLock<Script> =
    LazyLock::new(|| Script::new("return redis.call('ZREM', KEYS[1], ARGV[1])"));

/// Where sessions are.
pub(super) enum Store {
    Cookie,
    Redis(Shared),
}

/// The store that gateways share.
pub(super) struct Shared {
    accounts: Arc<Accounts>,
    /// Of which provider and client they are.
    context: String,
}

/// The store cannot be asked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Away;

impl Shared {
    pub(super) fn new(accounts: Arc<Accounts>, context: String) -> Self {
        Self { accounts, context }
    }

    fn key(&self, kind: &str, name: &str) -> String {
        self.accounts.key(&format!("oidc:{name}"), kind)
    }

    /// Under what a session is kept, which does not tell the id that the browser has.
    pub(super) fn name(&self, id: &str) -> String {
        hex(&mark(Of::Id, &format!("{}\0{id}", self.context)))
    }

    async fn ask(&self, script: &Script, key: String, arguments: &[String]) -> Result<Value, Away> {
        self.accounts.client().eval(script, &[key], arguments).await.map_err(|_| Away)
    }

    /// A session by its name, and whether it was encrypted with the secret of now.
    pub(super) async fn get(&self, seal: &Seal, name: &str) -> Result<Option<(Session, bool)>, Away> {
        match self.ask(&GET, self.key("session", name), &[]).await? {
            Value::BulkString(sealed) => {
                let opened = seal.open(&purpose(name), &sealed);
                Ok(opened.and_then(|(text, is_new)| Some((serde_json::from_slice(&text).ok()?, is_new))))
            }
            _ => Ok(None),
        }
    }

    /// Keeps a session; one that has ended meanwhile is not kept again.
    pub(super) async fn put(
        &self,
        seal: &Seal,
        name: &str,
        session: &Session,
        left: u64,
        is_first: bool,
    ) -> Result<bool, Away> {
        let text = serde_json::to_vec(session).map_err(|_| Away)?;
        let sealed = seal.seal(&purpose(name), &text).ok_or(Away)?;
        let script = if is_first { &PUT } else { &AGAIN };
        let kept = self.ask(script, self.key("session", name), &[sealed, left.max(1).to_string()]).await?;
        Ok(!matches!(kept, Value::Nil))
    }

    /// Ends a session.
    pub(super) async fn end(&self, name: &str) -> Result<(), Away> {
        self.ask(&DROP, self.key("session", name), &[]).await.map(drop)
    }

    /// Has a session found by what the provider calls it.
    pub(super) async fn list(
        &self,
        of: Of,
        value: &str,
        name: &str,
        ends: u64,
        now: u64,
    ) -> Result<(), Away> {
        let arguments = [name.to_owned(), ends.to_string(), now.to_string()];
        self.ask(&LIST, self.listed_key(of, value), &arguments).await.map(drop)
    }

    /// Ends all sessions that the provider calls so; how many there were.
    pub(super) async fn end_listed(&self, of: Of, value: &str) -> Result<usize, Away> {
        let Value::Array(names) = self.ask(&LISTED, self.listed_key(of, value), &[]).await? else {
            return Ok(0);
        };
        let mut count = 0;
        for name in names {
            if let Value::BulkString(name) = name {
                let name = String::from_utf8_lossy(&name).into_owned();
                self.end(&name).await?;
                // Only what has ended is taken off: what has not is found another time.
                self.ask(&UNLIST, self.listed_key(of, value), &[name]).await?;
                count += 1;
            }
        }
        Ok(count)
    }

    /// Lets one gateway alone do something with a session for a while: with what it gives it free again, or `None` when
    /// another has it.
    pub(super) async fn lock(&self, name: &str, millis: u64) -> Result<Option<Lock>, Away> {
        let mine = fresh_id().ok_or(Away)?;
        let locked = self.ask(&LOCK, self.key("lock", name), &[millis.to_string(), mine.clone()]).await?;
        Ok((!matches!(locked, Value::Nil)).then_some(Lock(mine)))
    }

    /// Lets others do it.
    pub(super) async fn unlock(&self, name: &str, Lock(mine): Lock) {
        // What is not given free now is so when its time ends.
        let _ = self.ask(&UNLOCK, self.key("lock", name), &[mine]).await;
    }

    /// Whether a logout token was used, at whichever gateway.
    pub(super) async fn is_used(&self, id: &str) -> Result<bool, Away> {
        Ok(self.ask(&IS_THERE, self.used_key(id), &[]).await? == Value::Int(1))
    }

    /// Notes that a logout token is used, for so long.
    pub(super) async fn note_used(&self, id: &str, millis: u64) -> Result<(), Away> {
        self.ask(&PUT, self.used_key(id), &["1".to_owned(), millis.to_string()]).await.map(drop)
    }

    fn used_key(&self, id: &str) -> String {
        self.key("used", &hex(&mark(Of::Token, &format!("{}\0{id}", self.context))))
    }

    fn listed_key(&self, of: Of, value: &str) -> String {
        self.key("listed", &hex(&mark(of, &format!("{}\0{value}", self.context))))
    }
}

/// Whose a lock is.
pub(super) struct Lock(String);

/// A session in one place is none in another.
fn purpose(name: &str) -> String {
    format!("stored {name}")
}

/// An id for a browser to keep.
pub(super) fn fresh_id() -> Option<String> {
    seal::token()
}

/// Whether a cookie may be an id at all, so that nothing else is ever looked up.
pub(super) fn is_id(text: &[u8]) -> bool {
    text.len() == 43 && text.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}
