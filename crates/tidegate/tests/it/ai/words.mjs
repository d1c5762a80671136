// Asks for speech, a transcription and a picture through OpenAI's SDK of JavaScript, and prints what it understood.
//
// usage: words.mjs BASE KEY
import OpenAI, { toFile } from "openai";

const [base, apiKey] = process.argv.slice(2);
const client = new OpenAI({ baseURL: `${base}/v1`, apiKey, maxRetries: 0 });
const spoken = await client.audio.speech.create({ model: "eleven", voice: "anna", input: "high water" });
console.log("speech", spoken.headers.get("content-type"), (await spoken.arrayBuffer()).byteLength);
const file = await toFile(Buffer.from("RIFF and more"), "speech.wav", { type: "audio/wav" });
const heard = await client.audio.transcriptions.create({ model: "nova", file, response_format: "verbose_json" });
console.log("heard", heard.text, heard.duration, heard.segments[0].text);
const made = await client.images.generate({ model: "gemini-image", prompt: "a pier" });
console.log("picture", made.data[0].b64_json, made.usage.output_tokens);
