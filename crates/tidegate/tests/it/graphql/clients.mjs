// Real clients, each through the gateway: node clients.mjs <address> <scenario> [list]
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { ApolloClient, ApolloLink, HttpLink, InMemoryCache, gql } from "@apollo/client";
import { BatchHttpLink } from "@apollo/client/link/batch-http";
import { PersistedQueryLink } from "@apollo/client/link/persisted-queries";
import { Client, fetchExchange } from "@urql/core";
import { persistedExchange } from "@urql/exchange-persisted";
import { print } from "graphql";

const [address, scenario, file] = process.argv.slice(2);
const uri = `http://${address}/graphql`;
const sha256 = (text) => createHash("sha256").update(text).digest("hex");
const asked = [];
const watched = async (input, options) => {
  const answer = await fetch(input, options);
  asked.push(`${options?.method ?? "GET"} ${answer.status}`);
  return answer;
};
const apollo = (link) => new ApolloClient({ link, cache: new InMemoryCache(), defaultOptions: { query: { fetchPolicy: "no-cache" } } });
const BOOK = gql`query Book($id: ID!) { book(id: $id) { title author { name } } }`;

const scenarios = {
  async "apollo-apq"() {
    const client = apollo(ApolloLink.from([new PersistedQueryLink({ sha256, useGETForHashedQueries: true }), new HttpLink({ uri, fetch: watched })]));
    const first = await client.query({ query: BOOK, variables: { id: "1" } });
    assert.equal(first.data.book.title, "Book 1");
    // Asked for by its hash, not known, sent; then known.
    assert.deepEqual(asked, ["GET 200", "POST 200"]);
    const second = await client.query({ query: BOOK, variables: { id: "2" } });
    assert.equal(second.data.book.title, "Book 2");
    assert.deepEqual(asked.slice(2), ["GET 200"]);
    const renamed = await client.mutate({ mutation: gql`mutation Rename { rename(id: 1, title: "New") { title } }` });
    assert.equal(renamed.data.rename.title, "New");
    assert.deepEqual(asked.slice(3), ["POST 200", "POST 200"]);
  },
  async "urql-apq"() {
    const exchanges = [persistedExchange({ generateHash: async (text) => sha256(text), preferGetForPersistedQueries: true }), fetchExchange];
    const client = new Client({ url: uri, fetch: watched, exchanges, requestPolicy: "network-only" });
    for (const id of ["1", "2"]) {
      const found = await client.query(BOOK, { id }).toPromise();
      assert.equal(found.error, undefined);
      assert.equal(found.data.book.title, `Book ${id}`);
    }
    assert.equal(asked.length, 3, asked.join());
  },
  async "apollo-list"() {
    // As the ids of a manifest are sent: never with a text.
    const manifest = JSON.parse(readFileSync(file, "utf8"));
    const id = (document) => manifest.operations.find((one) => one.name === document.definitions[0].name.value)?.id ?? sha256(print(document));
    const client = apollo(ApolloLink.from([new PersistedQueryLink({ generateHash: id }), new HttpLink({ uri, fetch: watched })]));
    const found = await client.query({ query: BOOK, variables: { id: "3" } });
    assert.equal(found.data.book.title, "Book 3");
    await assert.rejects(client.query({ query: gql`query Other { me { name } }` }), /no document of the list has this id/);
  },
  async "apollo-batch"() {
    const client = apollo(new BatchHttpLink({ uri, fetch: watched, batchInterval: 20 }));
    const all = await Promise.all(["1", "2", "3"].map((id) => client.query({ query: BOOK, variables: { id } })));
    assert.deepEqual(all.map((one) => one.data.book.title), ["Book 1", "Book 2", "Book 3"]);
    assert.deepEqual(asked, ["POST 200"]);
    const dear = gql`query Dear { slow slow2: slow }`;
    const both = await Promise.allSettled([client.query({ query: BOOK, variables: { id: "1" } }), client.query({ query: dear })]);
    assert.deepEqual(both.map((one) => one.status), ["rejected", "rejected"]);
  },
  async "urql-told"() {
    // What a client is told is an error of GraphQL's, not of the network.
    const client = new Client({ url: uri, fetch: watched, exchanges: [fetchExchange], requestPolicy: "network-only" });
    const { error } = await client.query("query Deep { me { books { author { books { author { name } } } } } }", {}).toPromise();
    assert.equal(error.graphQLErrors[0].extensions.code, "DEPTH_LIMIT_EXCEEDED");
    assert.equal(error.networkError, undefined);
  },
};

await scenarios[scenario]();
console.log("ok");
