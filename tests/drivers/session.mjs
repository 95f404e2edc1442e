// A session of the Node driver: what an ordinary application does. Any wrong answer throws.
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import path from 'node:path';

const require = createRequire(path.join(process.env.SMONGO_NODE_MODULES, 'x.js'));
const { MongoClient, ObjectId, Long, Decimal128, Binary, Timestamp, MinKey, MaxKey, BSONRegExp, Code, Int32, Double, UUID, GridFSBucket } = require('mongodb');

const client = new MongoClient(process.argv[2], { serverSelectionTimeoutMS: 10000, promoteValues: true });
const db = client.db('node_session');
const failsWith = (code, promise) => assert.rejects(promise, e => (assert.equal(e.code, code, e.message), true));

async function create() {
  await db.dropDatabase();
  const people = db.collection('people');
  const { insertedId } = await people.insertOne({ name: 'Ada', born: 1815, tags: ['math', 'code'] });
  assert.ok(insertedId instanceof ObjectId);
  const many = await people.insertMany([
    { _id: 1, name: 'Grace', born: 1906, tags: ['code', 'navy'], address: { city: 'New York' } },
    { _id: 2, name: 'Alan', born: 1912, tags: ['math'], scores: [{ k: 'a', v: 1 }, { k: 'b', v: 5 }] },
    { _id: 3, name: 'Edsger', born: 1930, tags: [], address: { city: 'Rotterdam' } },
  ]);
  assert.equal(many.insertedCount, 3);
  await failsWith(11000, people.insertOne({ _id: 1 }));
  const e = await people.insertMany([{ _id: 9 }, { _id: 1 }, { _id: 10 }], { ordered: false }).catch(e => e);
  assert.equal(e.code, 11000);
  assert.equal(e.insertedCount, 2);
  await people.deleteMany({ _id: { $in: [9, 10] } });
  assert.equal(await people.countDocuments(), 4);
  assert.equal(await people.estimatedDocumentCount(), 4);
}

async function read() {
  const people = db.collection('people');
  const names = cursor => cursor.map(d => d.name).toArray();
  assert.deepEqual(await names(people.find({ born: { $gte: 1900 } }).sort({ born: -1 })), ['Edsger', 'Alan', 'Grace']);
  assert.deepEqual(await names(people.find({ tags: 'math' }).sort({ name: 1 })), ['Ada', 'Alan']);
  assert.deepEqual(await names(people.find({ $or: [{ 'address.city': /^New/ }, { scores: { $elemMatch: { k: 'b', v: { $gt: 4 } } } }] }).sort({ _id: 1 })), ['Grace', 'Alan']);
  assert.deepEqual(await people.findOne({ _id: 1 }, { projection: { _id: 0, name: 1, 'address.city': 1 } }), { name: 'Grace', address: { city: 'New York' } });
  assert.deepEqual((await people.distinct('tags')).sort(), ['code', 'math', 'navy']);
  assert.equal(await people.findOne({ _id: 'nobody' }), null);
  const numbers = db.collection('numbers');
  await numbers.insertMany(Array.from({ length: 500 }, (_, n) => ({ _id: n, n, m: n % 7 })));
  const seen = [];
  for await (const d of numbers.find({ m: 3 }).batchSize(10)) seen.push(d.n);
  assert.deepEqual(seen, Array.from({ length: 500 }, (_, n) => n).filter(n => n % 7 === 3));
  assert.equal((await numbers.find().sort({ n: -1 }).skip(10).limit(5).toArray())[0].n, 489);
  const half = numbers.find().batchSize(5);
  await half.next();
  await half.close();
  await failsWith(2, numbers.find({ a: { $nonsense: 1 } }).toArray());
}

async function update() {
  const people = db.collection('people');
  let r = await people.updateOne({ name: 'Ada' }, { $set: { 'address.city': 'London' }, $inc: { born: 1 }, $push: { tags: 'poetry' } });
  assert.deepEqual([r.matchedCount, r.modifiedCount], [1, 1]);
  const ada = await people.findOne({ name: 'Ada' });
  assert.deepEqual([ada.address.city, ada.born, ada.tags], ['London', 1816, ['math', 'code', 'poetry']]);
  r = await people.updateMany({ tags: 'code' }, { $addToSet: { tags: 'x' }, $currentDate: { seen: true } });
  assert.equal(r.modifiedCount, 2);
  r = await people.updateOne({ _id: 2 }, { $set: { 'scores.$[s].v': 9 } }, { arrayFilters: [{ 's.k': 'a' }] });
  assert.equal(r.modifiedCount, 1);
  assert.equal((await people.findOne({ _id: 2 })).scores[0].v, 9);
  r = await people.updateOne({ _id: 'new' }, { $setOnInsert: { name: 'New' } }, { upsert: true });
  assert.equal(r.upsertedId, 'new');
  r = await people.replaceOne({ _id: 'new' }, { name: 'Newer' });
  assert.equal(r.modifiedCount, 1);
  const after = await people.findOneAndUpdate({ _id: 'new' }, { $inc: { n: 5 } }, { returnDocument: 'after' });
  assert.deepEqual(after, { _id: 'new', name: 'Newer', n: 5 });
  assert.deepEqual(await people.findOneAndDelete({ _id: 'new' }), { _id: 'new', name: 'Newer', n: 5 });
  await people.updateOne({ _id: 3 }, [{ $set: { label: { $concat: ['$name', ' of ', '$address.city'] } } }]);
  assert.equal((await people.findOne({ _id: 3 })).label, 'Edsger of Rotterdam');
  const bulk = await people.bulkWrite([
    { insertOne: { document: { _id: 'b1' } } },
    { updateOne: { filter: { _id: 'b1' }, update: { $set: { n: 1 } } } },
    { updateOne: { filter: { _id: 'b2' }, update: { $set: { n: 2 } }, upsert: true } },
    { deleteMany: { filter: { _id: { $in: ['b1', 'b2'] } } } },
  ]);
  assert.deepEqual([bulk.insertedCount, bulk.modifiedCount, bulk.upsertedCount, bulk.deletedCount], [1, 1, 1, 2]);
  await failsWith(9, people.updateOne({}, { $nonsense: { a: 1 } }));
  await failsWith(66, people.updateOne({ _id: 1 }, { $set: { _id: 5 } }));
}

async function indexes() {
  const people = db.collection('people');
  assert.equal(await people.createIndex({ born: 1, name: -1 }), 'born_1_name_-1');
  assert.equal(await people.createIndex({ name: 1 }, { unique: true }), 'name_1');
  await failsWith(11000, people.insertOne({ name: 'Ada' }));
  assert.deepEqual((await people.indexes()).map(i => i.name).sort(), ['_id_', 'born_1_name_-1', 'name_1']);
  const plan = await people.find({ born: { $gt: 1900 } }).explain('executionStats');
  assert.match(JSON.stringify(plan.queryPlanner.winningPlan), /"IXSCAN"/);
  assert.equal(plan.executionStats.nReturned, 3);
  assert.match(JSON.stringify((await people.find({ label: 1 }).explain()).queryPlanner.winningPlan), /"COLLSCAN"/);
  await people.dropIndex('name_1');
  assert.equal((await people.indexes()).length, 2);
}

async function aggregate() {
  const orders = db.collection('orders');
  await orders.insertMany([
    { _id: 1, who: 1, items: [{ sku: 'a', n: 2, price: 5 }, { sku: 'b', n: 1, price: 10 }] },
    { _id: 2, who: 2, items: [{ sku: 'a', n: 1, price: 5 }] },
    { _id: 3, who: 1, items: [{ sku: 'c', n: 4, price: 2.5 }] },
  ]);
  const bySku = await orders.aggregate([
    { $unwind: '$items' },
    { $group: { _id: '$items.sku', n: { $sum: '$items.n' }, revenue: { $sum: { $multiply: ['$items.n', '$items.price'] } } } },
    { $sort: { _id: 1 } },
  ]).toArray();
  assert.deepEqual(bySku, [{ _id: 'a', n: 3, revenue: 15 }, { _id: 'b', n: 1, revenue: 10 }, { _id: 'c', n: 4, revenue: 10 }]);
  const joined = await orders.aggregate([
    { $match: { who: 1 } },
    { $lookup: { from: 'people', localField: 'who', foreignField: '_id', as: 'person' } },
    { $project: { name: { $first: '$person.name' }, count: { $size: '$items' } } },
    { $sort: { _id: 1 } },
  ]).toArray();
  assert.deepEqual(joined, [{ _id: 1, name: 'Grace', count: 2 }, { _id: 3, name: 'Grace', count: 1 }]);
}

async function types() {
  const all = db.collection('types');
  const doc = {
    _id: new ObjectId(), long: Long.fromString('9007199254740993'), decimal: Decimal128.fromString('1.50'), binary: new Binary(Buffer.from([1, 2, 3]), 0),
    uuid: new UUID(), date: new Date(1234567890123), regex: new BSONRegExp('a+', 'i'), code: new Code('f()'), int: new Int32(1), double: new Double(1),
    timestamp: new Timestamp({ t: 5, i: 6 }), min: new MinKey(), max: new MaxKey(), nested: { a: [{ b: [[]] }] }, nothing: null, text: 'Grüße 😀',
  };
  await all.insertOne(doc, { ignoreUndefined: true });
  const [back] = await all.find({ _id: doc._id }, { promoteValues: false, promoteLongs: false, bsonRegExp: true }).toArray();
  assert.deepEqual(Object.keys(back), Object.keys(doc));
  assert.equal(back.long.toString(), '9007199254740993');
  assert.equal(back.decimal.toString(), '1.50');
  assert.equal(back.uuid.toString(), doc.uuid.toString());
  assert.equal(back.text.valueOf(), doc.text);
  assert.equal(back.double._bsontype, 'Double');
  assert.equal(await all.countDocuments({ long: { $type: 'long' }, decimal: { $gt: 1 }, date: { $lt: new Date() }, double: 1 }), 1);
}

async function administer() {
  const names = async () => (await db.listCollections({}, { nameOnly: true }).toArray()).map(c => c.name).sort();
  assert.deepEqual(await names(), ['numbers', 'orders', 'people', 'types']);
  await db.createCollection('fresh');
  await failsWith(48, db.createCollection('fresh', { capped: true, size: 4096 }));
  await db.collection('fresh').rename('renamed');
  assert.ok((await names()).includes('renamed'));
  await db.collection('renamed').drop();
  assert.ok((await client.db().admin().listDatabases()).databases.some(d => d.name === 'node_session'));
  assert.equal((await db.command({ ping: 1 })).ok, 1);
  assert.match((await db.command({ buildInfo: 1 })).version, /^8\./);
  assert.equal((await db.command({ hello: 1 })).setName, 'rs0');
  await failsWith(59, db.command({ nonsense: 1 }));
  const session = client.startSession();
  assert.equal(await db.collection('people').countDocuments({}, { session }), 4);
  await session.endSession();
}

async function transactions() {
  const accounts = db.collection('accounts');
  await accounts.insertMany([{ _id: 'a', n: 10 }, { _id: 'b', n: 0 }]);
  const session = client.startSession();
  await session.withTransaction(async () => {
    await accounts.updateOne({ _id: 'a' }, { $inc: { n: -4 } }, { session });
    assert.equal((await accounts.findOne({ _id: 'a' })).n, 10);
    await accounts.updateOne({ _id: 'b' }, { $inc: { n: 4 } }, { session });
  });
  assert.deepEqual(await accounts.find().sort({ _id: 1 }).map(d => d.n).toArray(), [6, 4]);
  session.startTransaction();
  await accounts.deleteMany({}, { session });
  assert.equal(await accounts.countDocuments({}, { session }), 0);
  await session.abortTransaction();
  assert.equal(await accounts.countDocuments(), 2);
  // Of two transactions that write one document the second fails, and may be tried again.
  const other = client.startSession();
  session.startTransaction();
  other.startTransaction();
  await accounts.updateOne({ _id: 'a' }, { $set: { n: 1 } }, { session });
  const e = await accounts.updateOne({ _id: 'a' }, { $set: { n: 2 } }, { session: other }).catch(e => e);
  assert.equal(e.code, 112);
  assert.ok(e.hasErrorLabel('TransientTransactionError'));
  await session.commitTransaction();
  await other.abortTransaction();
  assert.equal((await accounts.findOne({ _id: 'a' })).n, 1);
  await Promise.all([session.endSession(), other.endSession()]);
}

async function files() {
  const bucket = new GridFSBucket(db, { chunkSizeBytes: 1000 });
  const data = Buffer.alloc(5500, 'smongo');
  await new Promise((done, fail) => bucket.openUploadStream('f').on('finish', done).on('error', fail).end(data));
  const parts = [];
  for await (const part of bucket.openDownloadStreamByName('f')) parts.push(part);
  assert.ok(Buffer.concat(parts).equals(data));
}

try {
  for (const part of [create, read, update, indexes, aggregate, types, administer, transactions, files]) {
    try {
      await part();
    } catch (e) {
      console.error(`in ${part.name}:`);
      throw e;
    }
  }
  await db.dropDatabase();
} finally {
  await client.close();
}
