/**
 * Analysis, in JavaScript: adds the hour and the route to each flight, and shows the busiest routes.
 *
 * The top ten is kept in memory and published for display only: when this worker is killed it starts
 * from nothing. The numbers that count are computed from what was stored.
 */
import { Client, Worker } from "tuskd";

const PUBLISH_EVERY = 500; // ms
const MINUTES_PER_HOUR = 60;

const flightsOf = new Map(); // by route

function analyse([minute, delay, distance, origin, destination]) {
  const hour = Math.floor(minute / MINUTES_PER_HOUR) % 24;
  const route = `${origin}-${destination}`;
  flightsOf.set(route, (flightsOf.get(route) ?? 0) + 1);
  return [minute, delay, distance, origin, destination, hour, route];
}

function topTen() {
  return [...flightsOf].sort((a, b) => b[1] - a[1]).slice(0, 10);
}

const client = new Client();
const timer = setInterval(() => {
  // At most once, and for the eye: one that does not arrive is not missed.
  client.publish("flights.top", topTen()).catch(() => {});
}, PUBLISH_EVERY);

const worker = new Worker({ slots: 2000 });
worker.stage("real_time_analytics", (flights) => flights.map(analyse), { batch: 1000, wait: 2 });
await worker.run();
clearInterval(timer);
await client.close();
