-- Marks a session as ended. KEYS: 1 the session. ARGV: 1 the mark.
redis.call('SET', KEYS[1], ARGV[1], 'PX', '60000')
return 1
