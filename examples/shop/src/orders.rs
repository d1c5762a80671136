//! Orders: placed once however often they are sent with one `Idempotency-Key`.

use axum::{
    Json, Router,
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use rusqlite::{OptionalExtension, params};
use serde_json::{Value, json};

use crate::{problem::Problem, store::Store};

/// The tables.
pub const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS orders (
    id INTEGER PRIMARY KEY AUTOINCREMENT, body TEXT NOT NULL, placed_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP
) STRICT;
CREATE TABLE IF NOT EXISTS idempotency_keys (
    key TEXT PRIMARY KEY, order_id INTEGER NOT NULL REFERENCES orders (id), body TEXT NOT NULL
) STRICT;
";

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

fn shown(id: i64, body: &str, placed_at: &str) -> Value {
    let items = serde_json::from_str::<Value>(body).unwrap_or_default()["items"].take();
    json!({"id": id, "status": "placed", "placedAt": placed_at, "items": items})
}

async fn list(State(store): State<Store>) -> Result<Json<Value>, Problem> {
    let items = store
        .run(|connection| {
            let mut query = connection
                .prepare_cached("SELECT id, body, placed_at FROM orders ORDER BY id DESC LIMIT 100")?;
            let row = |row: &rusqlite::Row<'_>| {
                Ok(shown(row.get(0)?, &row.get::<_, String>(1)?, &row.get::<_, String>(2)?))
            };
            query.query_map([], row)?.collect::<Result<Vec<_>, _>>()
        })
        .await?;
    Ok(Json(json!({"items": items})))
}

async fn one(State(store): State<Store>, Path(id): Path<i64>) -> Result<Json<Value>, Problem> {
    let found = store
        .run(move |connection| {
            let mut query = connection.prepare_cached("SELECT body, placed_at FROM orders WHERE id = ?1")?;
            let row =
                |row: &rusqlite::Row<'_>| Ok(shown(id, &row.get::<_, String>(0)?, &row.get::<_, String>(1)?));
            query.query_row([id], row).optional()
        })
        .await?;
    found.map(Json).ok_or_else(|| Problem::not_found(format!("no order {id}")))
}

enum Placed {
    New(i64),
    Before(i64),
    OtherBody,
}

async fn place(State(store): State<Store>, headers: HeaderMap, body: String) -> Result<Response, Problem> {
    let order = check(&body)?;
    let key = headers.get("idempotency-key").and_then(|key| key.to_str().ok()).map(str::to_owned);
    let text = order.to_string();
    let placed = store
        .run(move |connection| {
            let transaction = connection.transaction()?;
            if let Some(key) = &key {
                let known = "SELECT order_id, body FROM idempotency_keys WHERE key = ?1";
                let known: Option<(i64, String)> =
                    transaction.query_row(known, [key], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
                if let Some((id, before)) = known {
                    return Ok(if before == text { Placed::Before(id) } else { Placed::OtherBody });
                }
            }
            transaction.execute("INSERT INTO orders (body) VALUES (?1)", [&text])?;
            let id = transaction.last_insert_rowid();
            if let Some(key) = &key {
                let remember = "INSERT INTO idempotency_keys (key, order_id, body) VALUES (?1, ?2, ?3)";
                transaction.execute(remember, params![key, id, text])?;
            }
            transaction.commit()?;
            Ok(Placed::New(id))
        })
        .await?;
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
