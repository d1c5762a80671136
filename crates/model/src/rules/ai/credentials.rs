//! Rules of providers' credentials: one kind of them, and each of them whole.

use crate::{
    load::Context,
    resource::ai::{AwsCredentials, Provider},
};

pub(super) fn check(provider: &Provider, at: &mut Context<'_, '_>) {
    let kinds = [
        ("keys", !provider.keys.is_empty()),
        ("aws", provider.aws.is_some()),
        ("azure", provider.azure.is_some()),
        ("google", provider.google.is_some()),
        ("oauth", provider.oauth.is_some()),
        ("metadata", provider.metadata.is_some()),
    ];
    let mut given = kinds.iter().filter(|(_, is_given)| *is_given).map(|(name, _)| *name);
    if let (Some(first), Some(second)) = (given.next(), given.next()) {
        at.field(second, |at| {
            at.error_with(
                format!("a provider shows who pays in one way, and `{first}` is given too"),
                "make it two providers, and both targets of the model",
            );
        });
    }
    let cooldown = &provider.key_cooldown;
    if cooldown.first.get() > cooldown.max.get() {
        at.field("keyCooldown", |at| at.error("`first` is longer than `max`"));
    }
    if let Some(aws) = &provider.aws {
        at.field("aws", |at| self::aws(aws, at));
    }
    if let Some(azure) = &provider.azure
        && azure.client_secret.is_some() == azure.federated_token.is_some()
    {
        at.field("azure", |at| at.error("expected either `clientSecret` or `federatedToken`"));
    }
    if let Some(google) = &provider.google
        && google.service_account.is_some() == google.external_account.is_some()
    {
        at.field("google", |at| at.error("expected either `serviceAccount` or `externalAccount`"));
    }
    if let Some(oauth) = &provider.oauth {
        at.field("oauth", |at| {
            if oauth.client_id.is_some() != oauth.client_secret.is_some() {
                at.error("`clientId` and `clientSecret` go together");
            } else if oauth.client_id.is_none() && oauth.secret_params.is_empty() {
                at.error("expected `clientId` and `clientSecret`, or `secretParams`");
            }
        });
    }
}

pub(crate) fn aws(aws: &AwsCredentials, at: &mut Context<'_, '_>) {
    let by_token = aws.assume_role.as_ref().is_some_and(|role| role.web_identity_token.is_some());
    match (&aws.access_key_id, &aws.secret_access_key) {
        (Some(_), Some(_)) if by_token => {
            at.error("a role is taken on by an access key or by a `webIdentityToken`, not by both");
        }
        (Some(_), Some(_)) => {}
        (None, None) if by_token => {}
        (None, None) => at.error_with(
            "expected `accessKeyId` and `secretAccessKey`",
            "or `assumeRole` with a `webIdentityToken`",
        ),
        _ => at.error("`accessKeyId` and `secretAccessKey` go together"),
    }
    if aws.session_token.is_some() && aws.access_key_id.is_none() {
        at.field("sessionToken", |at| at.error("a session token belongs to an access key"));
    }
}
