//! The catalogue: products in two versions of one API, and a greeting.

use axum::{
    Json, Router,
    extract::{Path, State},
    http::header::CONTENT_TYPE,
    routing::get,
};
use serde_json::{Value, json};

pub use crate::store::catalog::SCHEMA;
use crate::{
    problem::Problem,
    store::{Store, catalog::Product},
};

impl Product {
    /// The first version: the price as a number of cents.
    fn v1(self) -> Value {
        json!({"id": self.id, "name": self.name, "price": self.cents})
    }

    /// The second: the price says its currency.
    fn v2(self) -> Value {
        json!({"id": self.id, "name": self.name, "price": {"amount": self.cents, "currency": self.currency}})
    }
}

/// What the service says of itself.
const OPENAPI: &str = include_str!("../catalog.openapi.json");

/// The routes of the service.
pub fn routes(store: Store) -> Router {
    Router::new()
        .route("/v1/products", get(|state| list(state, Product::v1)))
        .route("/v1/products/{id}", get(|state, path| one(state, path, Product::v1)))
        .route("/v2/products", get(|state| list(state, Product::v2)))
        .route("/v2/products/{id}", get(|state, path| one(state, path, Product::v2)))
        .route("/v1/greeting", get(|| async { Json(json!({"text": "Welcome aboard"})) }))
        .route("/openapi.json", get(|| async { ([(CONTENT_TYPE, "application/json")], OPENAPI) }))
        .with_state(store)
}

async fn list(State(store): State<Store>, show: fn(Product) -> Value) -> Result<Json<Value>, Problem> {
    let items: Vec<Value> = store.products().await?.into_iter().map(show).collect();
    Ok(Json(json!({"items": items})))
}

async fn one(
    State(store): State<Store>,
    Path(id): Path<i64>,
    show: fn(Product) -> Value,
) -> Result<Json<Value>, Problem> {
    let found = store.product(id).await?;
    found.map(|product| Json(show(product))).ok_or_else(|| Problem::not_found(format!("no product {id}")))
}
