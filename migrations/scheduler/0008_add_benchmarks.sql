-- FLOP/s that the registry's benchmarks bear out, of a node's CPU, GPU and software Vulkan devices; 0: none.
alter table node
    add cpu_flops double precision not null default 0,
    add gpu_flops double precision not null default 0,
    add soft_flops double precision not null default 0;
