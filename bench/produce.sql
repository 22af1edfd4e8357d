SELECT mq.produce('bench', :value::text);
