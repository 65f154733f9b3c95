// A whole trade with version 3 of the official SDK: REST, trade_ws and the data stream. Prints what it saw as JSON.
"use strict";
const Alpaca = require("alpaca-v3");
const { Heard, told, within } = require("./story");

const env = process.env;
const alpaca = new Alpaca({ dataBaseUrl: env.APCA_API_DATA_URL, feed: "iex", paper: true });
// The SDK makes wss of every data stream's address; loopback speaks plain ws.
alpaca.data_stream_v2.session.url = `${env.APCA_API_STREAM_URL}/v2/iex`;

async function story() {
  const updates = new Heard();
  const bars = new Heard();
  const trades = new Heard();
  const listening = new Promise((resolve) => {
    alpaca.trade_ws.onConnect(() => {
      alpaca.trade_ws.subscribe(["trade_updates"]);
      // The server handles messages in order, but a request by REST may overtake them.
      setTimeout(resolve, 200);
    });
  });
  alpaca.trade_ws.onOrderUpdate((update) => updates.add(update));
  alpaca.data_stream_v2.onConnect(() => {
    alpaca.data_stream_v2.subscribeForBars(["AAPL", "TSLA"]);
    alpaca.data_stream_v2.subscribeForTrades(["AAPL"]);
  });
  alpaca.data_stream_v2.onStockBar((bar) => bars.add(bar));
  alpaca.data_stream_v2.onStockTrade((trade) => trades.add(trade));
  alpaca.trade_ws.connect();
  alpaca.data_stream_v2.connect();

  const account = await alpaca.getAccount();
  const clock = await alpaca.getClock();
  await within(10, "listening", listening);
  const bar = await bars.next((bar) => bar.Symbol === "AAPL");
  const trade = await trades.next(() => true);
  const last = (await alpaca.getLatestTrade("AAPL")).Price;

  const buy = await alpaca.createOrder({
    symbol: "AAPL", qty: 5, side: "buy", type: "limit", time_in_force: "day", limit_price: (last * 1.02).toFixed(2),
  });
  const bought = await updates.next((update) => update.event === "fill");
  const positions = await alpaca.getPositions();
  const oco = await alpaca.createOrder({
    symbol: "AAPL", qty: 5, side: "sell", type: "limit", time_in_force: "day", order_class: "oco",
    take_profit: { limit_price: (last * 1.5).toFixed(2) }, stop_loss: { stop_price: (last * 0.5).toFixed(2) },
  });
  await updates.next((update) => update.event === "new" && update.order.id === oco.id);
  const [group] = await alpaca.getOrders({ status: "open", nested: true });
  await alpaca.cancelOrder(oco.id);
  const ended = await updates.next((update) => update.event === "canceled" && update.order.id === oco.legs[0].id);
  const sell = await alpaca.createOrder({
    symbol: "AAPL", qty: 5, side: "sell", type: "limit", time_in_force: "day", limit_price: (last * 1.5).toFixed(2),
  });
  await updates.next((update) => update.event === "new" && update.order.id === sell.id);
  const open = await alpaca.getOrders({ status: "open" });
  await alpaca.cancelOrder(sell.id);
  const canceled = await updates.next((update) => update.event === "canceled");
  const refusal = await alpaca.createOrder({ symbol: "NOPE", qty: 1, side: "buy", type: "market", time_in_force: "day" })
    .catch((error) => ({ status: error.response.status, message: error.response.data.message }));
  await alpaca.createOrder({ symbol: "AAPL", qty: 5, side: "sell", type: "market", time_in_force: "day" });
  const sold = await updates.next((update) => update.event === "fill");
  const left = await alpaca.getPositions();
  const history = [];
  for await (const row of alpaca.getBarsV2("AAPL", {
    timeframe: "1Min", start: "2026-11-27T14:30:00Z", end: "2026-11-27T14:39:00Z", limit: 100,
  })) history.push(row.Timestamp);

  told({
    account: account.status, is_open: clock.is_open, buy: buy.id, sell: sell.id, history: history.length,
    bar: { t: bar.Timestamp, o: bar.OpenPrice, h: bar.HighPrice, l: bar.LowPrice, c: bar.ClosePrice, v: bar.Volume },
    trade: { symbol: trade.Symbol, price: trade.Price },
    bought: { id: bought.order.id, filled: bought.order.filled_qty, position: bought.position_qty },
    positions: positions.map((row) => [row.symbol, row.qty]), open: open.map((order) => order.id),
    oco: [oco.id, oco.legs[0].status, group.legs[0].id === oco.legs[0].id, ended.order.status],
    canceled: canceled.order.id, refusal, sold: { position: sold.position_qty }, left: left.length,
  });
}

story();
