-- Makes Chirm's role and database, as often as it is run. Reads the role's password from the environment:
-- CHIRM_POSTGRES_PASSWORD. Run by a superuser, with psql 14 or newer.
\set ON_ERROR_STOP on
\getenv password CHIRM_POSTGRES_PASSWORD

-- A statement that fails would go into the server's log with the password in it.
SET log_min_error_statement = 'panic';
SET log_statement = 'none';

SELECT 'CREATE ROLE chirm LOGIN' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'chirm') \gexec
ALTER ROLE chirm PASSWORD :'password';
SELECT 'CREATE DATABASE chirm OWNER chirm'
  WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = 'chirm') \gexec
