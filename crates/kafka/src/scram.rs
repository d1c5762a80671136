//! SCRAM (RFC 5802, RFC 7677): who connects shows that it knows a password without sending it, and the broker as well.

use std::num::NonZeroU32;

use aws_lc_rs::{digest, hmac, pbkdf2, rand};
use base64::{Engine, engine::general_purpose::STANDARD};

/// How often a password may have to be hashed. A broker that asks for more would only keep this process busy.
const ROUNDS_MIN: u32 = 4096;
const ROUNDS_MAX: u32 = 200_000;

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hash {
    Sha256,
    Sha512,
}

impl Hash {
    fn hmac(self, key: &[u8], data: &[u8]) -> hmac::Tag {
        let algorithm = match self {
            Self::Sha256 => hmac::HMAC_SHA256,
            Self::Sha512 => hmac::HMAC_SHA512,
        };
        hmac::sign(&hmac::Key::new(algorithm, key), data)
    }

    fn digest(self, data: &[u8]) -> digest::Digest {
        let algorithm = match self {
            Self::Sha256 => &digest::SHA256,
            Self::Sha512 => &digest::SHA512,
        };
        digest::digest(algorithm, data)
    }

    fn salted(self, password: &str, salt: &[u8], rounds: NonZeroU32) -> Vec<u8> {
        let (algorithm, length) = match self {
            Self::Sha256 => (pbkdf2::PBKDF2_HMAC_SHA256, 32),
            Self::Sha512 => (pbkdf2::PBKDF2_HMAC_SHA512, 64),
        };
        let mut out = vec![0; length];
        pbkdf2::derive(algorithm, rounds, salt, password.as_bytes(), &mut out);
        out
    }
}

/// One conversation.
pub(crate) struct Scram {
    hash: Hash,
    nonce: String,
    bare: String,
}

/// What the broker has to say at the end.
pub(crate) struct Expected(String);

impl Scram {
    pub(crate) fn new(hash: Hash, user: &str) -> Self {
        let mut bytes = [0; 24];
        // One that is always the same would still be safe for the password.
        let _ = rand::fill(&mut bytes);
        Self::with(hash, user, STANDARD.encode(bytes))
    }

    fn with(hash: Hash, user: &str, nonce: String) -> Self {
        let user = user.replace('=', "=3D").replace(',', "=2C");
        Self { hash, bare: format!("n={user},r={nonce}"), nonce }
    }

    /// What is said first.
    pub(crate) fn first(&self) -> String {
        format!("n,,{}", self.bare)
    }

    /// What is said to the broker's answer, and what that has to say then.
    pub(crate) fn last(&self, answer: &str, password: &str) -> Result<(String, Expected), &'static str> {
        let field = |name: &str| answer.split(',').find_map(|part| part.strip_prefix(name));
        let nonce = field("r=").ok_or("there is no nonce")?;
        if !nonce.starts_with(&self.nonce) || nonce.len() == self.nonce.len() {
            return Err("the nonce is another");
        }
        let salt = field("s=").and_then(|salt| STANDARD.decode(salt).ok()).ok_or("there is no salt")?;
        let rounds =
            field("i=").and_then(|rounds| rounds.parse::<u32>().ok()).ok_or("there are no rounds")?;
        let rounds = NonZeroU32::new(rounds)
            .filter(|rounds| (ROUNDS_MIN..=ROUNDS_MAX).contains(&rounds.get()))
            .ok_or("it asks for too few rounds, or too many")?;
        let salted = self.hash.salted(password, &salt, rounds);
        let without = format!("c=biws,r={nonce}");
        let whole = format!("{},{answer},{without}", self.bare);
        let key = self.hash.hmac(&salted, b"Client Key");
        let signature = self.hash.hmac(self.hash.digest(key.as_ref()).as_ref(), whole.as_bytes());
        let proof: Vec<u8> = key.as_ref().iter().zip(signature.as_ref()).map(|(a, b)| a ^ b).collect();
        let server = self.hash.hmac(&salted, b"Server Key");
        let expected = self.hash.hmac(server.as_ref(), whole.as_bytes());
        let expected = Expected(STANDARD.encode(expected.as_ref()));
        Ok((format!("{without},p={}", STANDARD.encode(proof)), expected))
    }
}

impl Expected {
    /// Whether the broker knows the password, too.
    pub(crate) fn is(&self, answer: &str) -> bool {
        answer.split(',').find_map(|part| part.strip_prefix("v=")) == Some(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &str =
        "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";

    #[test]
    fn the_conversation_is_that_of_the_specification() {
        let scram = Scram::with(Hash::Sha256, "user", "rOprNGfwEbeRWgbNEkqO".to_owned());
        assert_eq!(scram.first(), "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let (said, expected) = scram.last(ANSWER, "pencil").expect("an answer");
        assert_eq!(
            said,
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        );
        assert!(expected.is("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="));
        assert!(!expected.is("v=7rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="));
        assert!(!expected.is("e=invalid-proof"));
    }

    #[test]
    fn a_broker_that_is_none_is_told_nothing() {
        let scram = Scram::with(Hash::Sha512, "a=b,c", "rOprNGfwEbeRWgbNEkqO".to_owned());
        assert_eq!(scram.first(), "n,,n=a=3Db=2Cc,r=rOprNGfwEbeRWgbNEkqO");
        for wrong in [
            ANSWER.replace("r=rOp", "r=xOp"),
            ANSWER.replace("%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0", ""),
            ANSWER.replace("4096", "1"),
            ANSWER.replace("4096", "4000000000"),
            ANSWER.replace("s=W", "s=?"),
            String::new(),
        ] {
            assert!(scram.last(&wrong, "pencil").is_err(), "{wrong}");
        }
    }
}
