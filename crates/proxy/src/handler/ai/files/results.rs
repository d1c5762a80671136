//! What a batch spent: as its provider tells of the whole, else as its results tell line by line.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use ai::{canon::Usage, cost::Cost, dialect::Dialect};
use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use model::{AiRecord, TokenPrices, TokenUsage};
use serde_json::Value;

use super::{Asking, Named, ids::Paid, made::Made, paid::MICRO};
use crate::{
    body::{Body, Wrapper},
    call::Call,
    failure::Failure,
    handler::ai::{
        Told, duties::Metering, metered, meters::Spent, models::PricesAt, prices::Priced, provider::Provider,
    },
};

/// Bytes of one line of results that is read.
const LINE_BYTES_MAX: usize = 32 * 1024 * 1024;
/// The class of service that batches are priced in.
const TIER: &str = "batch";

/// Whether a batch is over, as its provider tells it.
pub(super) fn is_over(object: &Value) -> bool {
    let status = object["status"].as_str().or_else(|| object["processing_status"].as_str());
    matches!(status, Some("completed" | "failed" | "expired" | "cancelled" | "ended"))
}

/// What requests of a batch cost, each for itself: a long one is in a tier of its own.
#[derive(Debug)]
struct Summed {
    picodollars: Mutex<u128>,
    table: Box<str>,
}

impl TokenPrices for Summed {
    fn picodollars(&self, _: &TokenUsage, _: Option<&str>) -> u128 {
        *self.picodollars.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn table(&self) -> &str {
        &self.table
    }
}

/// What is reckoned of a batch's results.
struct Sum {
    usage: TokenUsage,
    picodollars: u128,
    prices: Option<Arc<Priced>>,
    /// Something was used whose price nobody knows.
    is_unpriced: bool,
}

impl Sum {
    fn add(&mut self, usage: &Usage) {
        let one = metered::counted(usage);
        if let Some(prices) = &self.prices {
            self.picodollars = self.picodollars.saturating_add(prices.picodollars(&one, Some(TIER)));
        } else {
            self.is_unpriced |= one.input > 0 || one.output > 0;
        }
        let all = &mut self.usage;
        for (all, one) in [
            (&mut all.input, one.input),
            (&mut all.cache_read, one.cache_read),
            (&mut all.cache_write, one.cache_write),
            (&mut all.cache_write_long, one.cache_write_long),
            (&mut all.input_audio, one.input_audio),
            (&mut all.input_image, one.input_image),
            (&mut all.output, one.output),
            (&mut all.reasoning, one.reasoning),
            (&mut all.output_audio, one.output_audio),
            (&mut all.output_image, one.output_image),
        ] {
            *all = all.saturating_add(one);
        }
    }
}

impl Asking<'_> {
    /// What a model of a provider costs, by the provider's name of it.
    fn prices(&self, provider: &Provider, model: &str) -> Option<Arc<Priced>> {
        self.gateway.models.prices_at(&provider.name).of(model)
    }

    /// Settles what is held for a batch that is over, where its provider tells what all of it used, or that nothing
    /// was done.
    pub(super) fn settle(&self, call: &mut Call, named: &Named, object: &Value) {
        if !is_over(object) {
            return;
        }
        let done = match self.dialect {
            Dialect::Anthropic => object["request_counts"]["succeeded"].as_u64(),
            _ => object["request_counts"]["completed"].as_u64(),
        };
        let usage = match (done, object.get("usage").filter(|usage| usage.is_object())) {
            (Some(0), _) => Usage::default(),
            (Some(_), Some(usage)) => {
                let body = format!("{{\"usage\":{usage}}}");
                let Some(usage) = Dialect::OpenAiResponses.peek_usage(body.as_bytes()) else { return };
                usage
            }
            _ => return,
        };
        let Some(provider) = self.files.provider(named) else { return };
        let prices = object["model"].as_str().and_then(|model| self.prices(provider, model));
        if usage.input > 0 && prices.as_ref().is_none_or(|prices| prices.has_tiers(TIER)) {
            // Which requests were long only their results tell, and whose.
            return;
        }
        let mut sum = Sum { usage: TokenUsage::default(), picodollars: 0, prices, is_unpriced: false };
        sum.add(&usage);
        let bill = Bill {
            made: self.files.made.clone(),
            provider: named.provider.clone(),
            batch: named.id.clone(),
            owner: (self.who.clone(), self.dialect, self.way.id.clone()),
            meters: call.ai.meters.clone(),
            paid: named.kept.clone(),
            sum,
        };
        let told = self.record(call, bill.sum.prices.is_some().then(|| bill.sum.table()));
        bill.settle(told);
    }

    /// The bytes of a file. Those of a batch's results are read over on the way.
    pub(super) fn content(
        &self,
        call: &mut Call,
        named: &Named,
        provider: &Provider,
        mut response: Response<Body>,
    ) -> Response<Body> {
        if let Ok(name) = HeaderValue::from_str(&provider.name) {
            response.headers_mut().insert("x-tidegate-provider", name);
        }
        let batch = match self.dialect {
            Dialect::Anthropic if named.id.starts_with("msgbatch_") => Some(named.id.clone()),
            _ => named.batch.clone(),
        };
        let is_coded = response.headers().contains_key(http::header::CONTENT_ENCODING);
        let Some(batch) = batch.filter(|_| !is_coded) else { return response };
        let sealed = Named { id: batch.clone(), batch: None, estimate: None, ..named.clone() };
        let owner = self.files.seals.seal(&self.who, &sealed).unwrap_or_default();
        let bill = Bill {
            made: self.files.made.clone(),
            provider: named.provider.clone(),
            batch,
            owner: (self.who.clone(), self.dialect, owner),
            meters: call.ai.meters.clone(),
            paid: named.kept.clone(),
            sum: Sum { usage: TokenUsage::default(), picodollars: 0, prices: None, is_unpriced: false },
        };
        let models = self.gateway.models.prices_at(&provider.name);
        let told = self.record(call, Some(models.table()));
        response.map(|inner| {
            let results =
                Results { inner, line: BytesMut::new(), is_whole: true, models, told, bill: Some(bill) };
            Body::boxed(results)
        })
    }

    /// A record that tells what results cost.
    fn record(&self, call: &mut Call, table: Option<Box<str>>) -> (Told, Option<Arc<Summed>>) {
        let operation = self.way.kind.operation().name();
        let mut record = AiRecord::new(operation, self.dialect.name(), "".into());
        if let Some(before) = &call.record.ai {
            record.provider = before.provider.clone();
            record.kind = before.kind;
        }
        let prices = table.map(|table| Arc::new(Summed { picodollars: Mutex::new(0), table }));
        record.prices = prices.clone().map(|prices| prices as Arc<dyn TokenPrices>);
        let told: Told = Arc::new(record);
        call.record.ai = Some(told.clone());
        (told, prices)
    }
}

impl Sum {
    fn table(&self) -> Box<str> {
        self.prices.as_ref().map_or_else(|| "".into(), |prices| prices.table().into())
    }
}

/// What a batch has spent, and where that is told.
struct Bill {
    made: Arc<Made>,
    provider: String,
    batch: String,
    /// Whose batch it is, in which dialect, and its id as the owner has it.
    owner: (String, Dialect, String),
    /// Whoever counts for the call that fetches it, and what is held for it where they share a store.
    meters: Vec<Metering>,
    paid: Option<Paid>,
    sum: Sum,
}

impl Bill {
    fn settle(self, (told, prices): (Told, Option<Arc<Summed>>)) {
        let (who, dialect, id) = &self.owner;
        let usage = self.sum.usage;
        let is_first = self.made.count(who, *dialect, id);
        let held = self.made.held(&self.provider, &self.batch);
        let mut picodollars = self.sum.picodollars;
        if self.sum.is_unpriced {
            // What nobody can reckon is what was held for it.
            let cost = held.as_ref().map_or(0, |held| held.cost);
            let cost = cost.max(self.paid.as_ref().map_or(0, |paid| paid.cost));
            picodollars = picodollars.max(u128::from(cost).saturating_mul(MICRO));
            told.guess();
        }
        let spent = Spent { input: usage.input, output: usage.output, cost: Cost(picodollars) };
        if let Some(held) = held {
            held.settle(&spent);
        }
        if let Some(paid) = &self.paid {
            paid.kept.settle(&self.meters, &spent, is_first);
        }
        // A batch is in one record, however often it is asked after.
        if is_first && (usage.input > 0 || usage.output > 0) {
            if let Some(prices) = prices {
                *prices.picodollars.lock().unwrap_or_else(PoisonError::into_inner) = picodollars;
            }
            told.spend(usage);
            told.end();
        }
    }
}

/// Results on their way, read line by line.
struct Results {
    inner: Body,
    line: BytesMut,
    /// Every line could be read.
    is_whole: bool,
    models: PricesAt,
    told: (Told, Option<Arc<Summed>>),
    bill: Option<Bill>,
}

impl Results {
    fn take(&mut self, data: &[u8]) {
        let mut rest = data;
        while let Some(end) = memchr::memchr(b'\n', rest) {
            let (line, after) = rest.split_at(end);
            self.push(line);
            self.read();
            rest = after.get(1..).unwrap_or_default();
        }
        self.push(rest);
    }

    fn push(&mut self, piece: &[u8]) {
        if self.line.len() + piece.len() > LINE_BYTES_MAX {
            self.is_whole = false;
            self.line.clear();
        } else if self.is_whole {
            self.line.extend_from_slice(piece);
        }
    }

    fn read(&mut self) {
        let line = self.line.split();
        let Some(bill) = &mut self.bill else { return };
        if let Some(usage) = ai::batch::usage(bill.owner.1, &line) {
            let model = ai::batch::model(&line);
            bill.sum.prices = model.and_then(|model| self.models.of(&model));
            bill.sum.add(&usage);
        }
    }

    fn end(&mut self) {
        self.read();
        if let Some(bill) = self.bill.take().filter(|_| self.is_whole) {
            bill.settle(self.told.clone());
        }
    }
}

impl Wrapper for Results {
    fn inner(&mut self) -> Option<&mut Body> {
        Some(&mut self.inner)
    }
}

impl HttpBody for Results {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        let frame = std::task::ready!(Pin::new(&mut self.inner).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    let data = data.clone();
                    self.take(&data);
                }
                if self.inner.is_end_stream() {
                    self.end();
                }
            }
            Some(Err(_)) => self.bill = None,
            None => self.end(),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
