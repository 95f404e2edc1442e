// A session of mongosh: what one types at it. Any wrong answer throws, and mongosh then exits with a status.
const assert = require('node:assert/strict');
// Values of the shell come from another realm, so they are compared by what they print.
const same = (got, want) => assert.equal(EJSON.stringify(got), EJSON.stringify(want));
// mongosh waits inside functions of the script, not inside those of Node's assert module.
function failsWith(code, run) {
  try {
    run();
  } catch (e) {
    assert.equal(e.code, code);
    return;
  }
  throw new Error('expected error ' + code);
}
db = db.getSiblingDB('mongosh_session');
db.dropDatabase();

// create and read
assert.equal(db.cities.insertOne({ _id: 1, name: 'Oslo', pop: 700000 }).insertedId, 1);
assert.equal(Object.keys(db.cities.insertMany([
  { _id: 2, name: 'Bergen', pop: 290000, tags: ['rain', 'sea'] },
  { _id: 3, name: 'Rome', pop: 2800000, tags: ['old'], at: { lat: NumberDecimal('41.9') } },
]).insertedIds).length, 2);
same(db.cities.find({ pop: { $lt: 1000000 } }).sort({ pop: 1 }).toArray().map(d => d.name), ['Bergen', 'Oslo']);
assert.equal(db.cities.findOne({ tags: 'sea' }, { name: 1 }).name, 'Bergen');
assert.equal(db.cities.countDocuments({}), 3);
same(db.cities.distinct('tags').sort(), ['old', 'rain', 'sea']);
failsWith(11000, () => db.cities.insertOne({ _id: 1 }));

// update and delete
assert.equal(db.cities.updateOne({ _id: 1 }, { $inc: { pop: 1 }, $set: { at: { lat: 59.9 } } }).modifiedCount, 1);
assert.equal(db.cities.updateMany({}, { $set: { seen: ISODate('2024-01-01T00:00:00Z') } }).modifiedCount, 3);
assert.equal(db.cities.updateOne({ _id: 4 }, { $set: { name: 'Lima' } }, { upsert: true }).insertedId, 4);
assert.equal(db.cities.findOneAndUpdate({ _id: 4 }, { $set: { pop: NumberLong('10000000') } }, { returnNewDocument: true }).pop.toNumber(), 10000000);
assert.equal(db.cities.deleteOne({ _id: 4 }).deletedCount, 1);
assert.equal(db.cities.findOne({ _id: 1 }).pop, 700001);

// indexes
assert.equal(db.cities.createIndex({ pop: -1 }), 'pop_-1');
same(db.cities.getIndexes().map(i => i.name).sort(), ['_id_', 'pop_-1']);
const plan = db.cities.find({ pop: { $gt: 500000 } }).explain('executionStats');
assert.match(EJSON.stringify(plan.queryPlanner.winningPlan), /"IXSCAN"/);
assert.equal(plan.executionStats.nReturned, 2);
db.cities.dropIndex('pop_-1');
assert.equal(db.cities.getIndexes().length, 1);

// aggregation
const rows = db.cities.aggregate([
  { $addFields: { big: { $gte: ['$pop', 500000] } } },
  { $group: { _id: '$big', n: { $sum: 1 }, names: { $push: '$name' } } },
  { $sort: { _id: 1 } },
]).toArray();
same(rows.map(r => [r._id, r.n]), [[false, 1], [true, 2]]);

// a cursor over several batches, and `it`
db.many.insertMany(Array.from({ length: 1000 }, (_, n) => ({ n })));
let seen = 0;
db.many.find().batchSize(7).forEach(() => { seen++; });
assert.equal(seen, 1000);

// administration
assert.ok(db.getMongo().getDBNames().includes('mongosh_session'));
same(db.getCollectionNames().sort(), ['cities', 'many']);
assert.equal(db.stats().ok, 1);
assert.equal(db.cities.stats().count, 3);
assert.match(db.version(), /^8\./);
assert.equal(db.hello().isWritablePrimary, true);
assert.equal(db.serverStatus().ok, 1);
assert.equal(db.cities.validate().valid, true);
assert.equal(rs.status().set, 'rs0');
failsWith(59, () => db.adminCommand({ nonsense: 1 }));
assert.equal(db.dropDatabase().ok, 1);
print('done');
