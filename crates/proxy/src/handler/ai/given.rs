//! Gives an answer to the caller: what a target said, or what is most useful of what several said that did not answer.

use std::rc::Rc;

use ai::{dialect::Dialect, endpoint::Operation, words::Words};
use http::Response;

use super::{
    AiGateway, Told,
    meters::Bill,
    models::Target,
    passed,
    prepare::Conversation,
    read::{self, Looked},
    receipts,
    refusals::{Refusals, Refused, Verdict},
    reply::{finish, receipt},
    transcripts, units, vectors, worded,
};
use crate::{body::Body, call::Call, failure::Failure, worker::Worker};

/// A target that is asked, and how.
pub(super) struct Tried<'t> {
    pub(super) target: &'t Target,
    pub(super) model: String,
    pub(super) dialect: Dialect,
    /// The words of its own in which it is asked, if it is, and in which it refuses.
    pub(super) words: Option<Words>,
    pub(super) told: Told,
}

/// Gives an answer to the caller: read, where rules or the cache want that, else as it comes.
pub(super) async fn given(
    gateway: &AiGateway,
    worker: &Rc<Worker>,
    call: &mut Call,
    conversation: &mut Conversation<'_>,
    tried: Tried<'_>,
    response: Response<Body>,
    bill: Bill,
) -> Result<Response<Body>, Failure> {
    let Tried { target, model, mut dialect, words, told } = tried;
    let mut response = response;
    if response.status().is_success() {
        units::note(conversation, &told);
        let caller = conversation.endpoint.dialect;
        if conversation.endpoint.operation == Operation::Embeddings && dialect != caller {
            response = Box::pin(vectors::told(conversation, dialect, &model, response)).await?;
            dialect = caller;
        }
    }
    if let Some(words) = words {
        response = Box::pin(worded::told(call, conversation, words, response, &told)).await?;
        dialect = conversation.endpoint.dialect;
    }
    let is_heard =
        response.status().is_success() && transcripts::are_made_by(conversation.endpoint.operation);
    if is_heard && conversation.watch.reads_answers() {
        let bytes = Box::pin(transcripts::screened(call, conversation, response, &told)).await?;
        return finish(call, conversation, dialect, target, bytes, told, bill).await;
    }
    if !read::is_wanted(conversation, &response) {
        return finish(call, conversation, dialect, target, response, told, bill).await;
    }
    let response = match read::look(conversation, dialect, response).await? {
        Looked::Clear(response) => {
            return finish(call, conversation, dialect, target, response, told, bill).await;
        }
        Looked::Unsure(response) => response,
    };
    let of = Some((target, &*model));
    let read =
        Box::pin(read::finish(gateway, worker, call, conversation, dialect, of, response, told.clone()));
    let mut response = read.await?;
    receipt(&mut response, target, &told);
    receipts::put(call, &mut response, &told);
    Ok(bill.travel(response))
}

/// Tells the caller the most useful of what targets said that did not answer.
pub(super) async fn conclude(
    gateway: &AiGateway,
    worker: &Rc<Worker>,
    call: &mut Call,
    conversation: &mut Conversation<'_>,
    refusals: Refusals<'_>,
    bill: Bill,
) -> Result<Response<Body>, Failure> {
    match refusals.verdict() {
        Verdict::Answer(refused) => {
            let Refused { tried, response } = *refused;
            call.record.upstream = Some(tried.target.provider.target.upstream.name.clone());
            call.record.ai = Some(tried.told.clone());
            passed::tells(call, Ok(response.status()));
            // A whole answer that was looked through is read again on its way.
            tried.told.hear_anew();
            given(gateway, worker, call, conversation, tried, response, bill).await
        }
        Verdict::Failure(failure, of) => {
            if let Some((told, upstream)) = of {
                call.record.upstream = Some(upstream);
                call.record.ai = Some(told);
                passed::tells(call, Err(&failure));
            }
            Err(failure)
        }
    }
}
