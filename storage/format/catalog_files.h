// How the catalog's database writes its files: by our own File, everything else as RocksDB does it.
//
// Why:     RocksDB's own files try sync_file_range when they are opened, and where the system refuses it in
//          any way but ENOSYS an assertion ends the process; they reserve megabytes that a kill leaves there;
//          and an interrupted sync fails. Ours tell path and reason, which becomes the sentence of Error(io).
// Threads: as RocksDB asks: one writer for each file, sync() from anywhere.
#pragma once

namespace rocksdb {
class Env;
}

namespace gneiss {

// Lives as long as the process.
rocksdb::Env* catalog_environment();

}  // namespace gneiss
