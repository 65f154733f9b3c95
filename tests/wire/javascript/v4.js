// The same trade with version 4 of the official SDK, written anew in 2026. Prints what it saw as JSON.
"use strict";
const { Alpaca } = require("alpaca-v4");
const { Heard, told, within } = require("./story");

const env = process.env;
const keys = { keyId: env.APCA_API_KEY_ID, secret: env.APCA_API_SECRET_KEY };
// The SDK's hosts are fixed: what it would send there goes to the exchange.
const hosts = { "paper-api.alpaca.markets": env.APCA_API_BASE_URL, "data.alpaca.markets": env.APCA_API_DATA_URL };
const here = (url, init) => {
  const { host, pathname, search } = new URL(url);
  return fetch(hosts[host] + pathname + search, init);
};
const alpaca = new Alpaca({ ...keys, fetchApi: here });

async function story() {
  const updates = new Heard();
  const bars = new Heard();
  const trades = new Heard();
  const orders = alpaca.trading.stream({ url: `${env.APCA_API_STREAM_URL}/stream` });
  orders.onTradeUpdate((update) => updates.add(update));
  orders.subscribeTradeUpdates();
  const data = alpaca.marketData.stockStream({ url: `${env.APCA_API_STREAM_URL}/v2/iex` });
  data.onBar((bar) => bars.add(bar));
  data.onTrade((trade) => trades.add(trade));
  data.onConnect(() => {
    data.subscribeForBars(["AAPL", "TSLA"]);
    data.subscribeForTrades(["AAPL"]);
  });
  const listening = new Promise((resolve) => orders.on("subscription", resolve));
  orders.connect();
  data.connect();

  const account = await alpaca.trading.account.getAccount();
  const clock = await alpaca.trading.clock.legacyClock();
  await within(10, "listening", listening);
  const bar = await bars.next((bar) => bar.symbol === "AAPL");
  const trade = await trades.next(() => true);
  const last = await alpaca.marketData.getLatestPrice("AAPL");

  const day = { symbol: "AAPL", qty: 5, timeInForce: "day" };
  const buy = await alpaca.trading.orders.limit({ ...day, side: "buy", limitPrice: (last * 1.02).toFixed(2) });
  const bought = await updates.next((update) => update.event === "fill");
  const positions = await alpaca.trading.positions.getAllOpenPositions();
  const oco = await alpaca.trading.orders.oco({
    ...day, side: "sell", takeProfit: { limitPrice: (last * 1.5).toFixed(2) },
    stopLoss: { stopPrice: (last * 0.5).toFixed(2) },
  });
  await updates.next((update) => update.event === "new" && update.order.id === oco.id);
  const [group] = await alpaca.trading.orders.getAllOrders({ status: "open", nested: true });
  await alpaca.trading.orders.deleteOrderByOrderID({ orderId: oco.id });
  const ended = await updates.next((update) => update.event === "canceled" && update.order.id === oco.legs[0].id);
  const sell = await alpaca.trading.orders.limit({ ...day, side: "sell", limitPrice: (last * 1.5).toFixed(2) });
  await updates.next((update) => update.event === "new" && update.order.id === sell.id);
  const open = await alpaca.trading.orders.getAllOrders({ status: "open" });
  await alpaca.trading.orders.deleteOrderByOrderID({ orderId: sell.id });
  const canceled = await updates.next((update) => update.event === "canceled");
  const refusal = await alpaca.trading.orders.market({ symbol: "NOPE", qty: 1, side: "buy" })
    .catch((error) => ({ status: error.status, message: error.message }));
  await alpaca.trading.orders.market({ ...day, side: "sell" });
  const sold = await updates.next((update) => update.event === "fill");
  const left = await alpaca.trading.positions.getAllOpenPositions();
  const history = await alpaca.marketData.getStockBarsFor("AAPL", {
    timeframe: "1Min", start: new Date("2026-11-27T14:30:00Z"), end: new Date("2026-11-27T14:39:00Z"),
  });

  told({
    account: account.status, is_open: clock.isOpen, buy: buy.id, sell: sell.id, history: history.length,
    bar: { t: bar.timestamp, o: bar.open, h: bar.high, l: bar.low, c: bar.close, v: bar.volume },
    trade: { symbol: trade.symbol, price: trade.price },
    bought: { id: bought.order.id, filled: bought.order.filledQty, position: bought.positionQty },
    positions: positions.map((row) => [row.symbol, row.qty]), open: open.map((order) => order.id),
    oco: [oco.id, oco.legs[0].status, group.legs[0].id === oco.legs[0].id, ended.order.status],
    canceled: canceled.order.id, refusal, sold: { position: sold.positionQty }, left: left.length,
  });
}

story();
