module roost/bench/micro/go_sync

go 1.21
