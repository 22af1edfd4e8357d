INSERT INTO bench_heap VALUES (:value::text) RETURNING 0;
