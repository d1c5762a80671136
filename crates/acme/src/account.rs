//! Accounts at authorities: made once, kept, and looked up again at the next start.

use std::{collections::HashMap, sync::Arc};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use instant_acme::{Account, AccountCredentials, ExternalAccountKey, NewAccount};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use crate::{Authority, order::Failure, store::Store, wire::Wire};

/// What is kept of an account.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kept {
    contacts: Vec<String>,
    credentials: AccountCredentials,
}

/// The accounts of this process, each made by whoever needs it first. What is kept of one are its credentials, in the
/// store: each certificate speaks over connections of its own, by the settings that hold now.
#[derive(Default)]
pub(crate) struct Accounts(Mutex<HashMap<String, Arc<Mutex<()>>>>);

impl Accounts {
    /// The account at an authority.
    pub(crate) async fn get(
        &self,
        authority: &Authority,
        wire: &Wire,
        store: &Store,
    ) -> Result<Account, Failure> {
        let name = file_name(authority);
        let place = self.0.lock().await.entry(name.clone()).or_default().clone();
        let _alone = place.lock().await;
        match store.account::<Kept>(&name) {
            Some(kept) => known(kept, authority, wire, store, &name).await,
            None => fresh(authority, wire, store, &name).await,
        }
    }

    /// Forgets an account that the authority does not know.
    pub(crate) async fn forget(&self, authority: &Authority, store: &Store) {
        let name = file_name(authority);
        self.0.lock().await.remove(&name);
        if let Err(error) = store.keep_account::<Kept>(&name, None) {
            tracing::warn!("cannot remove the account {name}: {error}");
        }
    }
}

/// Accounts are told apart by whom they are at, and by what they belong to there.
fn file_name(authority: &Authority) -> String {
    let mut text = authority.directory.clone();
    if let Some((id, _)) = &authority.external_account {
        text.push('\n');
        text.push_str(id);
    }
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
    let hex: String = digest.as_ref()[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    let host = authority.directory.split('/').nth(2).unwrap_or_default().replace([':', '[', ']'], "-");
    format!("{host}-{hex}.json")
}

fn contacts(authority: &Authority) -> Vec<String> {
    authority.contacts.iter().map(|mail| format!("mailto:{mail}")).collect()
}

async fn known(
    kept: Kept,
    authority: &Authority,
    wire: &Wire,
    store: &Store,
    name: &str,
) -> Result<Account, Failure> {
    // What is kept is consumed by its use.
    let text = serde_json::to_vec(&kept.credentials).map_err(|error| Failure::other(error.to_string()))?;
    let builder = Account::builder_with_http(Box::new(wire.clone()));
    let account =
        builder.from_credentials(kept.credentials).await.map_err(|error| Failure::of(error, wire))?;
    let wanted = contacts(authority);
    if wanted != kept.contacts {
        let all: Vec<&str> = wanted.iter().map(String::as_str).collect();
        account.update_contacts(&all).await.map_err(|error| Failure::of(error, wire))?;
        let credentials = serde_json::from_slice(&text).map_err(|error| Failure::other(error.to_string()))?;
        store.keep_account(name, Some(&Kept { contacts: wanted, credentials })).map_err(Failure::disk)?;
        tracing::info!(authority = %authority.name, "told the authority `{}` the new contacts", authority.name);
    }
    Ok(account)
}

async fn fresh(authority: &Authority, wire: &Wire, store: &Store, name: &str) -> Result<Account, Failure> {
    let contacts = contacts(authority);
    let all: Vec<&str> = contacts.iter().map(String::as_str).collect();
    let wanted = NewAccount { contact: &all, terms_of_service_agreed: true, only_return_existing: false };
    let external = match &authority.external_account {
        Some((id, key)) => {
            let key = BASE64_URL_SAFE_NO_PAD.decode(key.trim().trim_end_matches('='));
            let key =
                key.map_err(|_| Failure::other("the key of `externalAccount` is not base64url".into()))?;
            Some(ExternalAccountKey::new(id.clone(), &key))
        }
        None => None,
    };
    let builder = Account::builder_with_http(Box::new(wire.clone()));
    let made = builder.create(&wanted, authority.directory.clone(), external.as_ref()).await;
    let (account, credentials) = made.map_err(|error| Failure::of(error, wire))?;
    store.keep_account(name, Some(&Kept { contacts, credentials })).map_err(Failure::disk)?;
    tracing::info!(authority = %authority.name, account = %account.id(), "has an account at `{}`", authority.name);
    Ok(account)
}
