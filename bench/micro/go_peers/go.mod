module roost/bench/micro/go_peers

go 1.21
