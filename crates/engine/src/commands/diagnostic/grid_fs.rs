//! filemd5: the MD5 of a file in GridFS.

use md5::{Digest, Md5};
use smongo_bson::{DocBuf, DocWriter, Result, Value, bail, number};
use smongo_mql::access::Action;

use super::stats::hex;
use crate::query::exec;
use crate::service::command::{Access, Args, Command, Cx};

pub const FILE_MD5: Command = Command::new("filemd5", file_md5, 0, Access::Database(&[Action::Find]));

fn file_md5(cx: &mut Cx<'_>, args: &mut Args<'_>, reply: &mut DocWriter<'_>) -> Result<()> {
    let file = args.first();
    let root = args.str("root")?.unwrap_or("fs");
    args.refuse(&["partialOk", "md5state"])?;
    args.finish()?;
    let stages = [
        DocBuf::build(|w| {
            w.document("$match").document("files_id").append("$eq", file);
        }),
        DocBuf::build(|w| {
            w.document("$sort").append("n", 1);
        }),
    ];
    let (db, coll) = (cx.db.clone(), format!("{root}.chunks"));
    let compile = cx.op.compile.timeless();
    let mut chunks = exec::open_pipeline(&mut cx.op, &db, &coll, &stages, &compile)?;
    let (mut md5, mut count) = (Md5::new(), 0i32);
    while chunks.advance(&mut cx.op)? {
        let chunk = chunks.doc();
        if number::to_i64_exact(chunk.get("n")) != Some(i64::from(count)) {
            bail!(10040, "chunks out of order: should have chunk {count} but have {:?}", chunk.get("n"));
        }
        let Value::Binary(data) = chunk.get("data") else { bail!(50847, "The element that calls binDataClean() must be type of BinData, but type of {} found", chunk.get("data").type_name()) };
        md5.update(data.bytes());
        count += 1;
    }
    reply.append("numChunks", count).append("md5", &*hex(&md5.finalize()));
    Ok(())
}
