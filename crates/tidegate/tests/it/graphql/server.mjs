// A service of GraphQL made with Yoga: the shop of shop.graphql. `GET /asked` tells how many requests it had.
import { createServer } from "node:http";
import { readFileSync } from "node:fs";
import { createSchema, createYoga } from "graphql-yoga";

const typeDefs = readFileSync(process.argv[2], "utf8");
const user = { id: "u1", name: "Ada", email: "ada@example.test", books: ({ first }) => books(first) };
const book = (id) => ({ id: String(id), title: `Book ${id}`, author: user });
const books = (first) => Array.from({ length: Math.min(first, 100) }, (_, at) => book(at + 1));

const resolvers = {
  Query: {
    me: () => user,
    book: (_, { id }) => book(id),
    books: (_, { first }) => books(first),
    slow: () => 1,
  },
  Mutation: {
    rename: (_, { id, title }) => ({ ...book(id), title }),
    upload: async (_, { file }) => `${file.name}: ${await file.text()}`,
  },
  Subscription: {
    countdown: {
      subscribe: async function* (_, { from }) {
        for (let at = from; at > 0; at -= 1) yield { countdown: at };
      },
    },
  },
};

const asked = [];
const yoga = createYoga({ schema: createSchema({ typeDefs, resolvers }), batching: true, logging: false });
const server = createServer((request, response) => {
  if (request.url === "/asked") {
    response.end(JSON.stringify(asked));
    return;
  }
  asked.push(`${request.method} ${request.url}`);
  // Queries by GET may be kept for a while, as a service says.
  if (request.method === "GET") response.setHeader("cache-control", "public, max-age=60");
  yoga(request, response);
});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
