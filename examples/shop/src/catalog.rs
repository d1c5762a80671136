//! The catalogue: products in two versions of one API, and a greeting.

use axum::{
    Json, Router,
    extract::{Path, State},
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

/// The routes of the service.
pub fn routes(store: Store) -> Router {
    Router::new()
        .route("/v1/products", get(|state| list(state, Product::v1)))
        .route("/v1/products/{id}", get(|state, path| one(state, path, Product::v1)))
        .route("/v2/products", get(|state| list(state, Product::v2)))
        .route("/v2/products/{id}", get(|state, path| one(state, path, Product::v2)))
        .route("/v1/greeting", get(|| async { Json(json!({"text": "Welcome aboard"})) }))
        .route("/openapi.json", get(|| async { Json(openapi()) }))
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

fn openapi() -> Value {
    let product = |price: Value| {
        json!({"type": "object", "required": ["id", "name", "price"],
               "properties": {"id": {"type": "integer"}, "name": {"type": "string"}, "price": price}})
    };
    let answer = |schema: &str| json!({"description": "found", "content": {"application/json": {"schema": {"$ref": format!("#/components/schemas/{schema}")}}}});
    let list = |schema: &str| {
        json!({"get": {"operationId": format!("list{schema}s"), "responses": {"200": {"description": "all products",
            "content": {"application/json": {"schema": {"type": "object", "required": ["items"], "properties": {
                "items": {"type": "array", "items": {"$ref": format!("#/components/schemas/{schema}")}}}}}}}}}})
    };
    let single = |schema: &str| {
        json!({"parameters": [{"name": "id", "in": "path", "required": true, "schema": {"type": "integer"}}],
            "get": {"operationId": format!("get{schema}"),
                    "responses": {"200": answer(schema), "404": {"description": "no such product"}}}})
    };
    json!({
        "openapi": "3.1.0",
        "info": {"title": "Catalogue", "version": "2.0.0", "description": "Products of the shop."},
        "paths": {
            "/v1/products": list("Product"), "/v1/products/{id}": single("Product"),
            "/v2/products": list("ProductV2"), "/v2/products/{id}": single("ProductV2"),
            "/v1/greeting": {"get": {"operationId": "greet", "responses": {"200": {"description": "a greeting",
                "content": {"application/json": {"schema": {"type": "object", "properties": {"text": {"type": "string"}}}}}}}}},
        },
        "components": {"schemas": {
            "Product": product(json!({"type": "integer", "description": "in cents"})),
            "ProductV2": product(json!({"type": "object", "required": ["amount", "currency"], "properties": {
                "amount": {"type": "integer", "description": "in cents"}, "currency": {"type": "string"}}})),
        }},
    })
}
