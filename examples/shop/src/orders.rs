//! Orders: placed once however often they are sent with one `Idempotency-Key`.

use axum::{
    Json, Router,
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::{Value, json};

pub use crate::store::orders::SCHEMA;
use crate::{
    problem::Problem,
    store::{
        Store,
        orders::{Order, Placed},
    },
};

const ITEMS_MAX: usize = 100;
const QUANTITY_MAX: u64 = 1000;

/// The routes of the service.
pub fn routes(store: Store) -> Router {
    Router::new()
        .route("/v1/orders", get(list).post(place))
        .route("/v1/orders/{id}", get(one))
        .route("/openapi.json", get(|| async { Json(openapi()) }))
        .with_state(store)
}

fn shown(order: &Order) -> Value {
    let items = serde_json::from_str::<Value>(&order.body).unwrap_or_default()["items"].take();
    json!({"id": order.id, "status": "placed", "placedAt": order.placed_at, "items": items})
}

async fn list(State(store): State<Store>) -> Result<Json<Value>, Problem> {
    let items: Vec<Value> = store.orders().await?.iter().map(shown).collect();
    Ok(Json(json!({"items": items})))
}

async fn one(State(store): State<Store>, Path(id): Path<i64>) -> Result<Json<Value>, Problem> {
    let found = store.order(id).await?;
    found.map(|order| Json(shown(&order))).ok_or_else(|| Problem::not_found(format!("no order {id}")))
}

async fn place(State(store): State<Store>, headers: HeaderMap, body: String) -> Result<Response, Problem> {
    let order = check(&body)?;
    let key = headers.get("idempotency-key").and_then(|key| key.to_str().ok()).map(str::to_owned);
    let placed = store.place(key, order.to_string()).await?;
    let (status, id) = match placed {
        Placed::New(id) => (StatusCode::CREATED, id),
        Placed::Before(id) => (StatusCode::OK, id),
        Placed::OtherBody => {
            return Err(Problem::conflict("this Idempotency-Key came with another order before"));
        }
    };
    let Json(order) = one(State(store), Path(id)).await?;
    Ok((status, [(header::LOCATION, format!("/v1/orders/{id}"))], Json(order)).into_response())
}

/// The order as it is kept, or everything that is wrong with it.
fn check(body: &str) -> Result<Value, Problem> {
    let order: Value = serde_json::from_str(body)
        .map_err(|_| Problem::invalid(vec![(String::new(), "not JSON; send {\"items\": [...]}")]))?;
    let mut errors = Vec::new();
    let items = order["items"].as_array().map_or(&[][..], Vec::as_slice);
    if items.is_empty() || items.len() > ITEMS_MAX {
        errors.push(("/items".to_owned(), "a list of 1 to 100 items"));
    }
    for (at, item) in items.iter().enumerate() {
        if item["productId"].as_i64().is_none_or(|id| id < 1) {
            errors.push((format!("/items/{at}/productId"), "a product's id"));
        }
        if item["quantity"].as_u64().is_none_or(|count| !(1..=QUANTITY_MAX).contains(&count)) {
            errors.push((format!("/items/{at}/quantity"), "a whole number from 1 to 1000"));
        }
    }
    if errors.is_empty() { Ok(json!({"items": items})) } else { Err(Problem::invalid(errors)) }
}

fn openapi() -> Value {
    let reference = |name: &str| json!({"$ref": format!("#/components/schemas/{name}")});
    let content = |schema: Value| json!({"application/json": {"schema": schema}});
    json!({
        "openapi": "3.1.0",
        "info": {"title": "Orders", "version": "1.0.0", "description": "Orders of the shop."},
        "paths": {
            "/v1/orders": {
                "get": {"operationId": "listOrders", "responses": {"200": {"description": "the latest 100 orders",
                    "content": content(json!({"type": "object", "properties": {"items": {"type": "array", "items": reference("Order")}}}))}}},
                "post": {"operationId": "placeOrder",
                    "parameters": [{"name": "Idempotency-Key", "in": "header", "schema": {"type": "string"},
                        "description": "The same key with the same order places it once."}],
                    "requestBody": {"required": true, "content": content(reference("NewOrder"))},
                    "responses": {"201": {"description": "placed", "content": content(reference("Order"))},
                        "200": {"description": "placed before with this key", "content": content(reference("Order"))},
                        "422": {"description": "the order does not fit, or the key came with another order"}}},
            },
            "/v1/orders/{id}": {
                "parameters": [{"name": "id", "in": "path", "required": true, "schema": {"type": "integer"}}],
                "get": {"operationId": "getOrder", "responses": {
                    "200": {"description": "the order", "content": content(reference("Order"))},
                    "404": {"description": "no such order"}}},
            },
        },
        "components": {"schemas": {
            "Item": {"type": "object", "required": ["productId", "quantity"], "properties": {
                "productId": {"type": "integer", "minimum": 1}, "quantity": {"type": "integer", "minimum": 1, "maximum": QUANTITY_MAX}}},
            "NewOrder": {"type": "object", "required": ["items"], "properties": {
                "items": {"type": "array", "minItems": 1, "maxItems": ITEMS_MAX, "items": reference("Item")}}},
            "Order": {"type": "object", "required": ["id", "status", "placedAt", "items"], "properties": {
                "id": {"type": "integer"}, "status": {"enum": ["placed"]}, "placedAt": {"type": "string"},
                "items": {"type": "array", "items": reference("Item")}}},
        }},
    })
}
