"""Runs the migrations on the connection that `upgrade` passes. Alembic executes this module."""

from alembic import context

from middleware.database.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, transactional_ddl=False)
with context.begin_transaction():
    context.run_migrations()
